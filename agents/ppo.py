"""PPO on whole frames: Stable-Baselines3's own, extended by its hooks."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO

from o1nano.agents.frames import FrameRolloutBuffer
from o1nano.agents.packing import ClosedFrame, Floats, pack_closed
from o1nano.envs.grammar import Grammar
from o1nano.policies.actor_critic import ReasoningPolicy

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


class FramePPO(PPO):
    """``PPO`` with a ``FrameRolloutBuffer`` and a price for leaving a reference policy.

    ``collect_rollouts`` and ``train`` are Stable-Baselines3's own.

    Args:
        policy: ``ReasoningPolicy`` or a subclass.
        env: A vector environment of ``ArithmeticVectorEnv``s, adapted.
        kl_price: Reward that a token costs for each nat by which it was likelier than under the reference. See
            ``set_reference``.
        credit: See ``FrameRolloutBuffer``.
        depth: The environment's limit on open frames.
        **kwargs: Everything else that ``PPO`` takes.
    """

    policy: ReasoningPolicy
    rollout_buffer: FrameRolloutBuffer

    def __init__(
        self,
        policy: type[ReasoningPolicy],
        env: Any,
        kl_price: float = 0.0,
        credit: str = "blame",
        depth: int = 32,
        **kwargs: Any,
    ) -> None:
        self.kl_price, self.credit, self.depth = kl_price, credit, depth
        self.reference: th.nn.Module | None = None
        with warnings.catch_warnings():  # a minibatch is made of whole frames: its size divides nothing anyway
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            super().__init__(policy, env, rollout_buffer_class=FrameRolloutBuffer, **kwargs)

    def _setup_model(self) -> None:
        # The buffer is built before the policy, whose grammar it shares.
        given = self.policy_kwargs
        grammar = Grammar(given.get("thinking", True), given.get("call_stack", True), given.get("functions", False))
        self.rollout_buffer_kwargs = {
            "grammar": grammar,
            "depth": self.depth,
            "credit": self.credit,
            "seed": self.seed,
        }
        with th.random.fork_rng():  # the initial weights are drawn from PyTorch's global generator
            super()._setup_model()

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds the weights to come and the environment, and leaves the generators of Python and NumPy alone."""
        if seed is None:
            return
        th.manual_seed(seed)
        self.action_space.seed(seed)
        if self.env is not None:
            self.env.seed(seed)

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Begins every rollout with an empty cache, so that a resumed one, which has no other, is the same."""
        self.policy.forget()
        return super().collect_rollouts(*args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the next rollout and update depend on, as plain containers, tensors and arrays."""
        assert self.env is not None
        episodes = [[info["r"], info["l"], info["t"]] for info in self.ep_info_buffer or ()]
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
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
        """Freezes a copy of the present policy as the reference that ``kl_price`` refers to."""
        self.reference = copy.deepcopy(self.policy.network).requires_grad_(False).eval()  # without dropout
        if self.kl_price:
            self.rollout_buffer.price = self._price

    def _price(self, frames: list[ClosedFrame]) -> list[Floats]:
        """Returns for each action its log-ratio to the reference times the price: one packed pass of the reference."""
        order = sorted(range(len(frames)), key=lambda index: len(frames[index].tokens))
        ordered = [frames[index] for index in order]
        out: list[Floats] = [frame.log_probs for frame in frames]
        if not frames:
            return out
        assert self.reference is not None
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=self.policy.bf16):
            packed = pack_closed(ordered, self.policy.grammar, self.device)
            log_probs = self.reference(*packed.batches)[0]
        actions = th.from_numpy(np.concatenate([frame.actions for frame in ordered])).long().to(self.device)
        chosen = log_probs.gather(1, actions[:, None]).squeeze(1).cpu().numpy()
        parts = np.split(chosen, np.cumsum([len(frame.positions) for frame in ordered])[:-1])
        ratios = [frame.log_probs - reference for frame, reference in zip(ordered, parts, strict=True)]
        for index, ratio in zip(order, ratios, strict=True):
            out[index] = self.kl_price * ratio
        self.logger.record("train/kl_to_warm_start", float(np.mean(np.concatenate(ratios))))
        self.logger.record("reward/kl_price", float(np.mean([price.sum() for price in out])))
        return out

    def train(self) -> None:
        """Updates the policy, unless no frame has ended in the rollout: then there is nothing to learn from yet."""
        if len(self.rollout_buffer.values):
            self.logger.record("train/first_ratio", self._first_ratio())
            super().train()

    def _first_ratio(self) -> float:
        """Mean probability ratio of some frames before the update: 1, but for frames older than the last one."""
        samples = self.rollout_buffer._samples(self.rollout_buffer._frames[:32])
        with th.no_grad():
            log_probs = self.policy.evaluate_actions(samples.observations, samples.actions)[1]
        return float((log_probs - samples.old_log_prob).exp().mean())

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "reference"]
