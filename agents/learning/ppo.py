"""PPO on whole frames: Stable-Baselines3's PPO with its own loss, rollout buffer and phase of the critic."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.agents.learning.compatibility import read_env_config
from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.imitation import imitation_losses
from o1nano.agents.learning.packing import TrainingFrame
from o1nano.agents.learning.rollout_buffer import FrameMinibatch, FrameRolloutBuffer
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.seeding import stream
from o1nano.policies.actor_critic import ReasoningPolicy, entropy, kl_divergence
from o1nano.policies.network.model import ReasoningNetwork

_CRITIC_BATCH = 2048  # actions of a minibatch of the critic, over all processes

# The parts of the state that are the same in every process.
SHARED = ("policy", "optimizer", "critic_optimizer", "reference", "counters")
# Stable-Baselines3's counters, which belong to the state.
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


class FramePPO(PPO):
    """PPO for sequences: minibatches of whole frames, a KL penalty, and a critic or group advantages (GRPO, RLOO).

    ``learn``, ``collect_rollouts``, callbacks, logger and schedules are Stable-Baselines3's own. The whole loss is in
    ``train``. The model asks the environment for the grammar and the depth of its frames (``env.get_attr("config")``).

    The critic reads the trunk without a gradient into it (``Heads.values``), so it is fitted after the policy, with its
    own learning rate and number of passes. This is the auxiliary phase of Cobbe et al. (2021), "Phasic policy
    gradient", without distillation.

    ``save`` and ``load`` keep weights, both optimizers, the reference and the settings, as Stable-Baselines3 does. To
    continue exactly where a model stopped, with its environments and random states, use ``state_dict``.

    Args:
        policy: ``ReasoningPolicy`` or a subclass.
        env: A vector of o1nano environments, ``GymnasiumVecEnv(ArithmeticVectorEnv(...))``.
        credit: How a frame is rewarded. ``"frame"``: every frame for its own answer. ``"blame"``: the same, but a frame
            that received a wrong answer to a useful subtask is left out (``o1nano.agents.learning.credit`` defines both
            words). ``"episode"``: every action of an episode for the root's answer.
        advantage: What the reward is compared with. ``"critic"``: the critic's values. ``"group"`` (GRPO) and
            ``"leave_one_out"`` (RLOO): other frames with the same prompt, as ``FrameRolloutBuffer`` describes. Then the
            critic is not trained, and ``normalize_advantage`` divides advantages without subtracting their mean.
        critic_epochs: Passes of the critic over a rollout.
        critic_learning_rate: Learning rate of the critic (Adam).
        kl_coef: Weight of the Kullback-Leibler divergence from the reference, which ``set_reference`` freezes.
        imitation_coef: Weight of the mean cross-entropy of demonstrations, a batch of which joins every minibatch; see
            ``set_demonstrations``.
        max_grad_norm: Largest norm of the gradient; None never clips.
        target_kl: An update ends early when the approximate divergence from the policy that acted exceeds 1.5 times
            this; None never ends it.
        process_group: The processes that train together, each on its own environments. An update is the one that a
            single process would make on the frames of all of them, except that groups are compared within a process.
        **kwargs: All other arguments of ``PPO`` except ``vf_coef`` and ``clip_range_vf``, which have no use here.

    Raises:
        ConfigurationError: If a value is out of range, if the policy is not a ``ReasoningPolicy``, or if the
            observations are not the unchanged token ids of an o1nano environment.
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
        imitation_coef: float = 0.0,
        max_grad_norm: float | None = 0.5,
        target_kl: float | None = None,
        process_group: ProcessGroup | None = None,
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

        # Set before super().__init__(), which calls _setup_model.
        self.process_group = process_group or ProcessGroup()
        self.credit = credit
        self.advantage = advantage
        self.critic_epochs = critic_epochs
        self.critic_learning_rate = critic_learning_rate
        self.kl_coef = kl_coef
        self.imitation_coef = imitation_coef
        self.demonstrations: Iterator[list[TrainingFrame]] | None = None
        self.reference: ReasoningNetwork | None = None
        self.has_reference = False
        self.depth = 0  # the environment's limit on open frames
        with warnings.catch_warnings():
            # A minibatch consists of whole frames, so batch_size need not divide the rollout.
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
        # A model may be loaded without an environment, to predict.
        if self.env is not None:
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
            "process_group": self.process_group,
        }
        # The initial weights are drawn from PyTorch's global generator, which is left as it was.
        with th.random.fork_rng():
            super()._setup_model()
        self.process_group.broadcast_weights(self.policy)

        self.critic_optimizer = th.optim.Adam(self.policy.network.heads.value.parameters(), self.critic_learning_rate)
        # A model that is being loaded: the weights of its reference are filled in after this.
        if self.has_reference:
            self.set_reference()

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Sets another environment of the same kind.

        Args:
            env: The environment.
            force_reset: Whether ``learn`` resets it first.

        Raises:
            ConfigurationError: If it is not an o1nano environment with unchanged token ids, if its grammar differs from
                the policy's, or if its depth is larger than before.
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
        """Seeds PyTorch, the action space and the environment; the global generators of Python and NumPy are not used.

        Args:
            seed: The seed; None seeds nothing.
        """
        if seed is None:
            return
        th.manual_seed(seed)
        self.action_space.seed(seed)
        if self.env is not None:
            # Hashed, because environment i gets the seed s + i: runs with seeds s and s + 1 would share problems.
            self.env.seed(int(stream("environments", seed).integers(2**31)))

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if self.kl_coef and self.reference is None:
            raise ConfigurationError(
                f"kl_coef={self.kl_coef} without a reference; expected a call of set_reference first"
            )
        if self.imitation_coef and self.demonstrations is None:
            raise ConfigurationError(
                f"imitation_coef={self.imitation_coef} without demonstrations; "
                "expected a call of set_demonstrations first"
            )
        before = self._last_obs
        out = super()._setup_learn(*args, **kwargs)
        # If the environment was reset, episodes that were running will never end.
        if self._last_obs is not before:
            self.rollout_buffer.drop_open_frames()
        return out

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Collects a rollout, as Stable-Baselines3 does, starting with an empty cache.

        A resumed model has no cache, so without this its rollout would differ by rounding.
        """
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
        """Restores a state.

        Args:
            state: What ``state_dict`` of a model with the same arguments returned.
        """
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
            self._last_obs = np.asarray(state["observations"])
            self._last_episode_starts = np.asarray(state["starts"])

        # VecMonitor's types, so that means are rounded as before.
        infos = [{"r": np.float32(r), "l": np.int32(length), "t": t} for r, length, t in state["episodes"]]
        self.ep_info_buffer = deque(infos, maxlen=self._stats_window_size)
        self.ep_success_buffer = deque(state["successes"], maxlen=self._stats_window_size)

    def set_reference(self) -> None:
        """Freezes a copy of the current policy as the reference, towards which ``kl_coef`` pulls the policy."""
        self.reference = copy.deepcopy(self.policy.network).requires_grad_(False)
        self.reference.eval()  # without dropout
        self.has_reference = True

    def set_demonstrations(self, demonstrations: Iterable[list[TrainingFrame]]) -> None:
        """Sets what ``imitation_coef`` keeps the policy good at, while rewards teach it something else.

        This is PPO-ptx (Ouyang et al. 2022, "Training language models to follow instructions with human feedback",
        equation 2), with demonstrations in the place of the texts of the pretraining.

        Args:
            demonstrations: Batches without end, each sorted by length, as ``DemonstrationStream`` yields them. They are
                not part of ``state_dict``.
        """
        self.demonstrations = iter(demonstrations)

    def train(self) -> None:
        """Updates the policy on the frames that have ended in the rollout, then the critic.

        The loss is that of Schulman et al. (2017), "Proximal policy optimization algorithms", plus a penalty on the
        divergence from a reference and the loss of demonstrations. Every mean but that of the demonstrations is taken
        over the actions of a minibatch in all processes.

        Frames with advantage 0 have no gradient and are left out, except if there is a KL penalty or an entropy bonus,
        which act on all frames.
        """
        if not min(self.process_group.gather(len(self.rollout_buffer.frames))):
            return  # in some process no frame has ended
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        skip = not (self.kl_coef or self.ent_coef)
        log: defaultdict[str, list[float]] = defaultdict(list)
        is_too_far = False

        for _ in range(self.n_epochs):
            log["approx_kl"] = []  # like Stable-Baselines3, log that of the last pass
            for batch in self.rollout_buffer.get(self.batch_size, self.normalize_advantage, skip):
                log_probs, _ = self.policy.evaluate(batch.observations)  # [M, V]
                log_prob = log_probs.gather(1, batch.actions[:, None]).squeeze(1)  # [M]

                # The probability ratio between the policy and the one that acted: 1 before the first step.
                log_ratio = log_prob - batch.old_log_prob
                ratio = log_ratio.exp()

                # The clipped surrogate objective (equation 7), the KL penalty and the entropy bonus.
                unclipped = batch.advantages * ratio
                clipped = batch.advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
                policy_loss = -batch.mean(th.min(unclipped, clipped))
                reference_kl = self._reference_kl(batch, log_probs)
                bonus = batch.mean(entropy(log_probs))
                imitation_loss = self._imitation_loss()
                loss = policy_loss + self.kl_coef * reference_kl - self.ent_coef * bonus
                loss = loss + self.imitation_coef * imitation_loss

                # Divergence from the policy that acted, estimated as k3 in http://joschu.net/blog/kl-approx.html, over
                # all processes, so that they stop together.
                approx_kl = self.process_group.mean(batch.mean(ratio - 1 - log_ratio).item(), batch.weight)
                is_too_far = self.target_kl is not None and approx_kl > 1.5 * self.target_kl
                log["policy_gradient_loss"].append(policy_loss.item())
                log["reference_kl"].append(reference_kl.item())
                log["imitation_loss"].append(imitation_loss.item())
                log["entropy_loss"].append(-bonus.item())
                log["loss"].append(loss.item())
                log["approx_kl"].append(approx_kl)
                log["clip_fraction"].append(batch.mean(((ratio - 1).abs() > clip_range).float()).item())
                log["ratio"].append(ratio.mean().item())
                if is_too_far:
                    break

                self._step(loss, batch.weight)

            self._n_updates += 1
            if is_too_far:
                break

        if self.advantage == "critic":
            self._fit_critic()
        self._record(log, clip_range)

    def _step(self, loss: th.Tensor, weight: float) -> None:
        """Takes one optimizer step on the average gradient of all processes.

        Args:
            loss: The loss of this process.
            weight: Its weight in the average.
        """
        self.policy.optimizer.zero_grad()
        th.autograd.backward(loss)
        self.process_group.average_gradients(self.policy.parameters(), weight)
        if self.max_grad_norm is not None:
            th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()

    def _reference_kl(self, batch: FrameMinibatch, log_probs: th.Tensor) -> th.Tensor:
        """Returns the mean divergence from the reference, exact over the vocabulary, or 0 if ``kl_coef`` is 0.

        Args:
            batch: The minibatch.
            log_probs: ``[M, V]`` log-probabilities of the policy.
        """
        if not self.kl_coef:
            return th.zeros((), device=self.device)
        with th.no_grad():
            reference, _ = self.policy.evaluate(batch.observations, self.reference)
        return batch.mean(kl_divergence(log_probs, reference))

    def _imitation_loss(self) -> th.Tensor:
        """Returns the mean cross-entropy of the next batch of demonstrations, or 0 if ``imitation_coef`` is 0.

        The mean is this process's own. In the average of all it has the weight of the minibatch.
        """
        if not self.imitation_coef:
            return th.zeros((), device=self.device)
        assert self.demonstrations is not None
        loss, _ = imitation_losses(self.policy.network, next(self.demonstrations), self.policy.bf16)
        return loss

    def _fit_critic(self) -> None:
        """Fits the value head to the returns by least squares."""
        # The trunk does not change in this phase, so its hidden states are computed once.
        batch = next(iter(self.rollout_buffer.get()))
        value = self.policy.network.heads.value
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=self.policy.bf16):
            hidden, _ = self.policy.network.action_states(batch.observations)

        # The same number of steps in every process, and at least one action for each of them.
        counts = self.process_group.gather(len(hidden))
        steps = min(ceil(sum(counts) / _CRITIC_BATCH), *counts)

        for _ in range(self.critic_epochs):
            for part in th.randperm(len(hidden), generator=self.policy.generator).tensor_split(steps):
                error = value(hidden[part].float()).squeeze(1) - batch.returns[part]
                loss = error.square().mean()
                self.critic_optimizer.zero_grad()
                th.autograd.backward(loss)
                self.process_group.average_gradients(value.parameters(), batch.weight)
                self.critic_optimizer.step()
        self.logger.record("train/critic_loss", loss.item())

    def _record(self, log: Mapping[str, Sequence[float]], clip_range: float) -> None:
        """Logs an update, under Stable-Baselines3's names where it has them.

        Args:
            log: Values of each minibatch.
            clip_range: The clip range of this update.
        """
        for name in ("policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction"):
            self.logger.record(f"train/{name}", float(np.mean(log[name])))
        if self.kl_coef:
            self.logger.record("train/reference_kl", float(np.mean(log["reference_kl"])))
        if self.imitation_coef:
            self.logger.record("train/imitation_loss", float(np.mean(log["imitation_loss"])))
        # 1 before the first step, except for frames that were begun before the last update.
        self.logger.record("train/first_ratio", log["ratio"][0])
        self.logger.record("train/loss", log["loss"][-1])

        values = self.rollout_buffer.values
        returns = self.rollout_buffer.returns
        self.logger.record("train/value_loss", float(np.mean((returns - values) ** 2)))
        self.logger.record("train/explained_variance", self.rollout_buffer.explained_variance())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)

    # Stable-Baselines3 saves modules and optimizers by their state_dicts, and pickles all other attributes.
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, variables = super()._get_torch_save_params()
        reference = ["reference"] if self.has_reference else []
        return [*modules, "critic_optimizer", *reference], variables

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "critic_optimizer", "demonstrations", "reference", "process_group"]
