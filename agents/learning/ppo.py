"""PPO on whole frames: Stable-Baselines3's, with a loss, a buffer and a critic of its own."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance

from o1nano.agents.learning.compatibility import read_env_config
from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.distributed import Team
from o1nano.agents.learning.rollout_buffer import FrameMinibatch, FrameRolloutBuffer
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.seeding import stream
from o1nano.policies.actor_critic import ReasoningPolicy, entropy, kl_divergence
from o1nano.policies.network.model import ReasoningNetwork

_CRITIC_BATCH = 2048  # actions, of all processes together

# Of the state, what is the same in every process.
SHARED = ("policy", "optimizer", "critic_optimizer", "reference", "counters")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


class FramePPO(PPO):
    """PPO whose minibatches are whole frames, with a pull towards a reference policy and a critic that is fitted apart.

    ``learn``, ``collect_rollouts``, callbacks, logger and schedules are Stable-Baselines3's own. The loss is all in
    ``train``. Grammar and depth of the frames are the environment's: the model asks it (``env.get_attr("config")``).

    The critic reads the trunk without a gradient into it (``Heads.values``), so it is fitted after the policy, at its
    own learning rate and over as many passes as it needs: the auxiliary phase of Cobbe et al. (2021), "Phasic policy
    gradient", without its distillation.

    ``save`` and ``load`` keep weights, both optimizers, the reference and the settings, as Stable-Baselines3 does. To
    continue exactly where a model stopped, with its environments and random states, use ``state_dict``.

    Args:
        policy: ``ReasoningPolicy`` or a subclass.
        env: A vector of o1nano environments, ``GymnasiumVecEnv(ArithmeticVectorEnv(...))``.
        credit: How a frame is rewarded: ``"blame"``, ``"frame"`` or ``"episode"``, see ``FrameRolloutBuffer``.
        advantage: What the reward is compared with: ``"critic"``, ``"group"`` or ``"leave_one_out"``, see
            ``FrameRolloutBuffer``. Without a critic the value head stays as it is, and advantages are scaled
            (``normalize_advantage``) but not shifted.
        critic_epochs: Passes of the critic over a rollout.
        critic_learning_rate: Of the critic (Adam).
        kl_coef: Weight of the Kullback-Leibler divergence from the reference, see ``set_reference``.
        max_grad_norm: Largest norm of the gradient; None never clips.
        target_kl: Ends an update's passes where the approximate divergence from the policy that acted is 1.5 times
            this; None never does.
        team: The processes that learn together. Each has its own environments; an update is the one that a single
            process would make on the frames of all of them, but that groups are compared within a process.
        **kwargs: Everything else that ``PPO`` takes, apart from ``vf_coef`` and ``clip_range_vf``: the critic is fitted
            apart.

    Raises:
        ConfigurationError: If a value makes no sense, if the policy is no ``ReasoningPolicy``, or if the environment's
            observations are not the token ids of an o1nano environment, as they are.
    """

    policy: ReasoningPolicy
    rollout_buffer: FrameRolloutBuffer

    def __init__(
        self,
        policy: type[ReasoningPolicy],
        env: Any,
        credit: Credit = "blame",
        advantage: Advantage = "critic",
        critic_epochs: int = 4,
        critic_learning_rate: float = 3e-3,
        kl_coef: float = 0.0,
        max_grad_norm: float | None = 0.5,
        target_kl: float | None = None,
        team: Team | None = None,
        **kwargs: Any,
    ) -> None:
        if not (isinstance(policy, type) and issubclass(policy, ReasoningPolicy)):
            raise ConfigurationError(f"policy={policy!r}; expected ReasoningPolicy or a subclass")
        if critic_epochs < 1:
            raise ConfigurationError(f"critic_epochs={critic_epochs}; expected at least 1")
        for name, value in (("max_grad_norm", max_grad_norm), ("target_kl", target_kl)):
            if value is not None and not value > 0:  # 0 would never learn anything
                raise ConfigurationError(f"{name}={value}; expected None, which is off, or a number above 0")
        for name in {"vf_coef", "clip_range_vf"} & set(kwargs):
            raise ConfigurationError(f"{name}={kwargs[name]}; expected critic_epochs and critic_learning_rate instead")

        self.team = team or Team()
        self.credit = credit
        self.advantage = advantage
        self.critic_epochs = critic_epochs
        self.critic_learning_rate = critic_learning_rate
        self.kl_coef = kl_coef
        self.reference: ReasoningNetwork | None = None
        self.has_reference = False
        self.depth = 0  # of the environment
        with warnings.catch_warnings():  # a minibatch is made of whole frames: its size divides nothing anyway
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            super().__init__(
                policy,
                env,
                rollout_buffer_class=FrameRolloutBuffer,
                max_grad_norm=max_grad_norm,  # type: ignore[arg-type]
                target_kl=target_kl,
                **kwargs,
            )

    def _setup_model(self) -> None:
        if self.env is not None:  # a model may be loaded without one, to predict
            config = read_env_config(self.env)
            given = self.policy_kwargs.get("grammar", config.grammar)
            if given != config.grammar:
                raise ConfigurationError(f"{given} of the policy; expected the environment's, {config.grammar}")
            self.policy_kwargs = {**self.policy_kwargs, "grammar": config.grammar}
            self.depth = config.depth
        self.rollout_buffer_kwargs = {
            "grammar": self.policy_kwargs["grammar"],
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
        if self.has_reference:  # a loaded model: its weights come after this
            self.set_reference()

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Sets another environment of the same kind.

        Args:
            env: The environment.
            force_reset: Whether ``learn`` resets it first.

        Raises:
            ConfigurationError: If it is none that the model can learn from: see the class.
        """
        env = self._wrap_env(env, self.verbose)
        config = read_env_config(env)
        if config.grammar != self.policy.grammar:
            raise ConfigurationError(
                f"{config.grammar} of the environment; expected the policy's, {self.policy.grammar}"
            )
        if config.depth > self.depth:
            raise ConfigurationError(
                f"depth={config.depth} of the environment; expected at most {self.depth}, as before"
            )
        super().set_env(env, force_reset)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds the weights to come and the environment, and leaves the generators of Python and NumPy alone."""
        if seed is None:
            return
        th.manual_seed(seed)
        self.action_space.seed(seed)
        if self.env is not None:
            # Hashed: environment i has the seed s + i, so runs with seeds s and s + 1 would share their problems.
            self.env.seed(int(stream("environments", seed).integers(2**31)))

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if self.kl_coef and self.reference is None:
            raise ConfigurationError(
                f"kl_coef={self.kl_coef} without a reference; expected a call of set_reference first"
            )
        before = self._last_obs
        out = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not before:  # it has reset the environment, which has cut running episodes off
            self.rollout_buffer.drop_open_frames()
        return out

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
        """Freezes a copy of the present policy as the reference, from which ``kl_coef`` holds the policy back."""
        self.reference = copy.deepcopy(self.policy.network).requires_grad_(False).eval()  # without dropout
        self.has_reference = True

    def train(self) -> None:
        """Updates the policy on the frames that have ended in the rollout, then the critic.

        The loss is the one of Schulman et al. (2017), "Proximal policy optimization algorithms", and a penalty on the
        divergence from a reference. Every mean is taken over the actions of a minibatch, in all processes. Where the
        advantages alone pull at the policy, frames without any are left out: their gradient is 0. A penalty or a bonus
        pulls at all frames.
        """
        if not min(self.team.gather(len(self.rollout_buffer.frames))):
            return  # nothing to learn from
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        skip = not (self.kl_coef or self.ent_coef)
        log: defaultdict[str, list[float]] = defaultdict(list)
        is_too_far = False

        for _ in range(self.n_epochs):
            log["approx_kl"] = []  # Stable-Baselines3 logs the last pass's
            for batch in self.rollout_buffer.get(self.batch_size, self.normalize_advantage, skip):
                log_probs, _ = self.policy.evaluate(batch.observations)  # [M, V]
                log_prob = log_probs.gather(1, batch.actions[:, None]).squeeze(1)  # [M]

                # The probability ratio between the policy and the one that acted: 1 before the first step.
                log_ratio = log_prob - batch.old_log_prob
                ratio = log_ratio.exp()

                # The clipped surrogate objective (equation 7), a penalty, and a bonus.
                unclipped = batch.advantages * ratio
                clipped = batch.advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
                policy_loss = -batch.mean(th.min(unclipped, clipped))
                reference_kl = self._reference_kl(batch, log_probs)
                bonus = batch.mean(entropy(log_probs))
                loss = policy_loss + self.kl_coef * reference_kl - self.ent_coef * bonus

                # How far this is from the policy that acted (http://joschu.net/blog/kl-approx.html, k3): all processes
                # stop together.
                approx_kl = self.team.mean(batch.mean(ratio - 1 - log_ratio).item(), batch.weight)
                is_too_far = self.target_kl is not None and approx_kl > 1.5 * self.target_kl
                log["policy_gradient_loss"].append(policy_loss.item())
                log["reference_kl"].append(reference_kl.item())
                log["entropy_loss"].append(-bonus.item())
                log["loss"].append(loss.item())
                log["approx_kl"].append(approx_kl)
                log["clip_fraction"].append(batch.mean(((ratio - 1).abs() > clip_range).float()).item())
                log["ratio"].append(ratio.mean().item())
                if is_too_far:
                    break

                # One step on the average gradient of all processes.
                self.policy.optimizer.zero_grad()
                th.autograd.backward(loss)
                gradients = [parameter.grad for parameter in self.policy.parameters() if parameter.grad is not None]
                self.team.average(gradients, batch.weight)
                if self.max_grad_norm is not None:
                    th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()

            self._n_updates += 1
            if is_too_far:
                break

        if self.advantage == "critic":
            self._fit_critic()
        self._record(log, clip_range)

    def _reference_kl(self, batch: FrameMinibatch, log_probs: th.Tensor) -> th.Tensor:
        """Returns the mean divergence from the reference, exact over the vocabulary; 0 where it weighs nothing.

        Args:
            batch: The minibatch.
            log_probs: ``[M, V]`` of the policy.
        """
        if not self.kl_coef:
            return th.zeros((), device=self.device)
        with th.no_grad():
            reference, _ = self.policy.evaluate(batch.observations, self.reference)
        return batch.mean(kl_divergence(log_probs, reference))

    def _fit_critic(self) -> None:
        """Fits the value head to the returns by least squares, on hidden states that are computed once."""
        batch = next(iter(self.rollout_buffer.get()))
        value = self.policy.network.heads.value
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=self.policy.bf16):
            hidden, _ = self.policy.network.acted(*batch.observations.batches)
        counts = self.team.gather(len(hidden))
        steps = min(ceil(sum(counts) / _CRITIC_BATCH), *counts)

        for _ in range(self.critic_epochs):
            for part in th.randperm(len(hidden), generator=self.policy.generator).tensor_split(steps):
                error = value(hidden[part].float()).squeeze(1) - batch.returns[part]
                loss = error.square().mean()
                self.critic_optimizer.zero_grad()
                th.autograd.backward(loss)
                gradients = [parameter.grad for parameter in value.parameters() if parameter.grad is not None]
                self.team.average(gradients, batch.weight)
                self.critic_optimizer.step()
        self.logger.record("train/critic_loss", loss.item())

    def _record(self, log: Mapping[str, Sequence[float]], clip_range: float) -> None:
        """Logs an update under Stable-Baselines3's names, where it has one."""
        for name in ("policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction"):
            self.logger.record(f"train/{name}", float(np.mean(log[name])))
        if self.kl_coef:
            self.logger.record("train/reference_kl", float(np.mean(log["reference_kl"])))
        # 1 before the first step, but for frames that were begun before the last update.
        self.logger.record("train/first_ratio", log["ratio"][0])
        self.logger.record("train/loss", log["loss"][-1])

        values = self.rollout_buffer.values
        returns = self.rollout_buffer.returns
        self.logger.record("train/value_loss", float(np.mean((returns - values) ** 2)))
        self.logger.record("train/explained_variance", explained_variance(values, returns))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        reference = ["reference"] if self.has_reference else []
        return [*modules, "critic_optimizer", *reference], variables

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "critic_optimizer", "reference", "team"]
