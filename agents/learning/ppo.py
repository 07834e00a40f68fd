"""PPO on whole frames: Stable-Baselines3's own, extended by its hooks."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import Any, cast

import numpy as np
import torch as th
from stable_baselines3 import PPO

from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.distributed import JointThreshold, Team
from o1nano.agents.learning.rollout_buffer import FrameRolloutBuffer
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import stream
from o1nano.policies.actor_critic import PackedFrames, ReasoningPolicy
from o1nano.policies.network.model import ReasoningNetwork

_CRITIC_BATCH = 2048  # actions, of all processes together

# Of the state, what is the same in every process.
SHARED = ("policy", "optimizer", "critic_optimizer", "reference", "counters")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


class FramePPO(PPO):
    """``PPO`` with a ``FrameRolloutBuffer``, a critic that is fitted apart, and a pull towards a reference policy.

    ``collect_rollouts`` and ``train`` are Stable-Baselines3's own. The critic reads the trunk without pulling at it
    (``Heads.values``), so it is fitted in a phase of its own, after the policy's, at its own learning rate and over as
    many epochs as it needs: the auxiliary phase of Cobbe et al. (2021), "Phasic policy gradient", undistilled.

    Args:
        policy: ``ReasoningPolicy`` or a subclass.
        env: A vector environment of ``ArithmeticVectorEnv``s, adapted.
        credit: See ``FrameRolloutBuffer``.
        advantage: See ``FrameRolloutBuffer``. Without a critic the value head stays as it is, and advantages are scaled
            (``normalize_advantage``) but not shifted.
        depth: The environment's limit on open frames.
        critic_epochs: Passes of the critic over a rollout.
        critic_learning_rate: Of the critic (Adam).
        team: The processes that learn together. Each has its own environments; an update is the one that a single
            process would make on the frames of all of them, but that groups are compared within a process.
        **kwargs: Everything else that ``PPO`` takes. ``ent_coef`` weighs the entropy relative to the reference, once
            there is one: see ``set_reference``.
    """

    policy: ReasoningPolicy
    rollout_buffer: FrameRolloutBuffer

    def __init__(
        self,
        policy: type[ReasoningPolicy],
        env: Any,
        credit: Credit = "blame",
        advantage: Advantage = "critic",
        depth: int = 32,
        critic_epochs: int = 4,
        critic_learning_rate: float = 3e-3,
        team: Team | None = None,
        **kwargs: Any,
    ) -> None:
        if critic_epochs < 1:
            raise ConfigurationError(f"critic_epochs={critic_epochs}; accepted: at least 1")
        self.team = team or Team()
        self.credit, self.advantage, self.depth = credit, advantage, depth
        self.critic_epochs, self.critic_learning_rate = critic_epochs, critic_learning_rate
        self.reference: ReasoningNetwork | None = None
        with warnings.catch_warnings():  # a minibatch is made of whole frames: its size divides nothing anyway
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            super().__init__(policy, env, rollout_buffer_class=FrameRolloutBuffer, **{"vf_coef": 0.0, **kwargs})

    def _setup_model(self) -> None:
        # The buffer is built before the policy, whose grammar it shares.
        given = self.policy_kwargs
        grammar = Grammar(given.get("thinking", True), given.get("call_stack", True), given.get("functions", False))
        self.rollout_buffer_kwargs = {
            "grammar": grammar,
            "depth": self.depth,
            "credit": self.credit,
            "advantage": self.advantage,
            "seed": self.seed,
            "team": self.team,
        }
        with th.random.fork_rng():  # the initial weights are drawn from PyTorch's global generator
            super()._setup_model()
        self.team.follow(self.policy)
        self.critic_optimizer = th.optim.Adam(self.policy.network.heads.value.parameters(), self.critic_learning_rate)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds the weights to come and the environment, and leaves the generators of Python and NumPy alone."""
        if seed is None:
            return
        th.manual_seed(seed)
        self.action_space.seed(seed)
        if self.env is not None:
            # Hashed: environment i has the seed s + i, so runs with seeds s and s + 1 would share their problems.
            self.env.seed(int(stream("environments", seed).integers(2**31)))

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Begins every rollout with an empty cache, so that a resumed one, which has no other, is the same."""
        self.policy.clear_cache()
        return super().collect_rollouts(*args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the next rollout and update depend on, as plain containers, tensors and arrays."""
        assert self.env is not None
        episodes = [[info["r"], info["l"], info["t"]] for info in self.ep_info_buffer or ()]
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "generator": self.policy.generator.get_state(),
            "reference": self.reference and self.reference.state_dict(),
            "buffer": self.rollout_buffer.state_dict(),
            "env": self.env.state_dict(),  # type: ignore[attr-defined]
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "observations": self._last_obs,
            "starts": self._last_episode_starts,
            "episodes": episodes,
            "successes": list(self.ep_success_buffer or ()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a model with the same arguments returned."""
        assert self.env is not None
        self.policy.load_state_dict(state["policy"])
        self.policy.optimizer.load_state_dict(state["optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.policy.generator.set_state(state["generator"])
        if state["reference"] is not None:
            self.set_reference()
            assert self.reference is not None
            self.reference.load_state_dict(state["reference"])
        self.rollout_buffer.load_state_dict(state["buffer"])
        self.env.load_state_dict(state["env"])  # type: ignore[attr-defined]
        for name, value in state["counters"].items():
            setattr(self, name, value)
        if state["observations"] is not None:
            self._last_obs, self._last_episode_starts = np.asarray(state["observations"]), np.asarray(state["starts"])
        # The types that VecMonitor gives: means of them are rounded like means of the originals.
        infos = [{"r": np.float32(r), "l": np.int32(length), "t": t} for r, length, t in state["episodes"]]
        self.ep_info_buffer = deque(infos, maxlen=self._stats_window_size)
        self.ep_success_buffer = deque(state["successes"], maxlen=self._stats_window_size)

    def set_reference(self) -> None:
        """Freezes a copy of the present policy as the one that ``ent_coef`` holds on to."""
        self.reference = copy.deepcopy(self.policy.network).requires_grad_(False).eval()  # without dropout
        self.policy.reference = self.reference.forward

    def train(self) -> None:
        """Updates policy and critic, unless no frame has ended in the rollout: then there is nothing to learn from."""
        if min(self.team.gather(len(self.rollout_buffer.values))):
            self.logger.record("train/first_ratio", self._first_ratio())
            with self._together():
                super().train()
            if self.reference is not None:  # what stands for the entropy is minus the divergence
                self.logger.record("train/kl_to_warm_start", self.logger.name_to_value["train/entropy_loss"])
            if self.advantage == "critic":
                self._fit_critic()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Has stock ``train()`` learn from the frames of all processes as if they were its own."""
        buffer, own = self.rollout_buffer, (self.normalize_advantage, self.target_kl)
        if self.team.size > 1 or self.advantage != "critic":  # stock PPO would shift what is 0 for good reason
            buffer.normalise, self.normalize_advantage = self.normalize_advantage, False
        if self.team.size > 1 and self.target_kl is not None:
            self.target_kl = JointThreshold(self.target_kl, self.team, lambda: buffer.share)  # type: ignore[assignment]
        try:
            with self.team.averaging(self.policy.parameters(), lambda: buffer.share):
                yield
        finally:
            self.normalize_advantage, self.target_kl = own
            buffer.normalise = False

    def _fit_critic(self) -> None:
        """Least squares of the critic on the returns of the rollout, on hidden states that are computed once."""
        samples = next(self.rollout_buffer.get())
        policy, value = self.policy, self.policy.network.heads.value
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=policy.bf16):
            hidden, _ = policy.network.acted(*cast(PackedFrames, samples.observations).batches)
        counts = self.team.gather(len(hidden))
        steps = min(ceil(sum(counts) / _CRITIC_BATCH), *counts)
        for _ in range(self.critic_epochs):
            for part in th.randperm(len(hidden), generator=policy.generator).tensor_split(steps):
                self.critic_optimizer.zero_grad()
                loss = (value(hidden[part].float()).squeeze(1) - samples.returns[part]).square().mean()
                th.autograd.backward(loss)
                gradients = [parameter.grad for parameter in value.parameters() if parameter.grad is not None]
                self.team.average(gradients, self.rollout_buffer.share)
                self.critic_optimizer.step()
        self.logger.record("train/critic_loss", loss.item())

    def _first_ratio(self) -> float:
        """Mean probability ratio of some frames before the update: 1, but for frames older than the last one."""
        samples = self.rollout_buffer._samples(self.rollout_buffer._frames[:32])
        with th.no_grad():
            log_probs = self.policy.evaluate_actions(samples.observations, samples.actions)[1]
        return float((log_probs - samples.old_log_prob).exp().mean())

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "critic_optimizer", "reference", "team"]
