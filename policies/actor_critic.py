"""The transformer as a Stable-Baselines3 policy.

It works with stock ``PPO``, which passes one observation for each step, and with packed frames. The last observation of
a frame contains all earlier ones, so one causal pass over it gives every log-probability and value in the frame.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from o1nano.envs.core.grammar import Grammar
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.network.frame_batch import FrameBatch, pack_frames
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig

# Replaces the log-probability -inf of illegal tokens, because 0 * -inf is nan.
_IMPOSSIBLE = -1e4


class ReasoningPolicy(ActorCriticPolicy):
    """A transformer actor-critic with output heads for reasoning, completion and subtask tokens.

    Args:
        observation_space: A flat ``Box`` of token ids.
        action_space: ``Discrete`` over the vocabulary.
        lr_schedule: Learning rate as a function of the remaining progress, from 1 to 0.
        transformer: Configuration of the trunk, or its keyword arguments; None means the defaults.
        grammar: Grammar of the environment, ``env.config.grammar``. ``FramePPO`` gets it from the environment.
        bf16: Whether rollouts and updates use bfloat16. Their log-probabilities of the same action then differ by
            rounding.
        use_sde: Must be False; Stable-Baselines3 passes it to every policy.
        optimizer_class: Class of the optimizer.
        optimizer_kwargs: Keyword arguments of the optimizer.
    """

    network: ReasoningNetwork

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        transformer: TransformerConfig | dict[str, Any] | None = None,
        grammar: Grammar | None = None,
        bf16: bool = False,
        use_sde: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        # These are set first, because super().__init__() calls _build and makes the optimizer. Parameters that are made
        # later would never reach it.
        if not isinstance(transformer, TransformerConfig):
            transformer = TransformerConfig(**(transformer or {}))
        self.transformer = transformer
        self.grammar = grammar or Grammar()
        self.bf16 = bf16
        self._decoder: Decoder | None = None

        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            use_sde=use_sde,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs or {},
        )

    def _build(self, lr_schedule: Schedule) -> None:
        self.network = ReasoningNetwork(self.transformer, self.grammar)

        # Sampling has its own generator. Its seed comes from PyTorch's generator, which the algorithm has seeded.
        self.generator = th.Generator().manual_seed(int(th.randint(2**31, ())))

        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # Everything that __init__ takes: what is missing here would change silently when a policy is saved and loaded.
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "transformer": self.transformer,
            "grammar": self.grammar,
            "bf16": self.bf16,
            "use_sde": self.use_sde,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }

    def clear_cache(self) -> None:
        """Forgets the KV cache. Call it after changing weights from outside.

        The next step starts from nothing but its observations, so it is the same, to the last bit, in a resumed run.
        """
        self._decoder = None

    def set_training_mode(self, mode: bool) -> None:
        """Sets the mode. Dropout stays off in both: with dropout, PPO's ratios would not begin at 1.

        In training mode the weights may change at any time, so that no step uses what an earlier step has computed.

        Args:
            mode: True in an update, False in a rollout.
        """
        super().set_training_mode(mode)
        self.network.eval()
        if mode:
            self.clear_cache()

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Loads weights, and forgets the KV cache of the old ones."""
        self.clear_cache()
        return super().load_state_dict(*args, **kwargs)

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Chooses the next token of every row, with the KV cache.

        Args:
            obs: ``[N, L]`` token ids.
            deterministic: Whether to take the most likely token instead of a sample.

        Returns:
            ``[N]`` actions, ``[N, 1]`` values, ``[N]`` log-probabilities.
        """
        log_probs, values = self._decode(obs)
        actions = self._choose(log_probs, deterministic)
        return actions, values[:, None], log_probs.gather(1, actions[:, None]).squeeze(1)

    def evaluate(
        self, obs: PyTorchObs | FrameBatch, network: ReasoningNetwork | None = None
    ) -> tuple[th.Tensor, th.Tensor]:
        """Computes the distribution of the next token and the value, in one pass over whole frames.

        Args:
            obs: ``[M, L]`` rows, or packed frames with M actions in them.
            network: The network to use, such as that of an earlier policy; None means the policy's own.

        Returns:
            ``[M, V]`` log-probabilities of the next token, -inf for illegal ones, and ``[M]`` values.
        """
        batch = obs if isinstance(obs, FrameBatch) else self._as_batch(cast(th.Tensor, obs))
        with th.autocast(self.device.type, th.bfloat16, enabled=self.bf16):
            out: tuple[th.Tensor, th.Tensor] = (network or self.network)(batch)
        return out

    def evaluate_actions(
        self, obs: PyTorchObs | FrameBatch, actions: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Computes values, log-probabilities and entropies of actions, with gradients.

        Args:
            obs: ``[M, L]`` rows, or packed frames with M actions in them.
            actions: ``[M]`` token ids.

        Returns:
            ``[M, 1]`` values, ``[M]`` log-probabilities and ``[M]`` entropies.
        """
        log_probs, values = self.evaluate(obs)
        chosen = log_probs.gather(1, actions.long()[:, None]).squeeze(1)
        return values[:, None], chosen, entropy(log_probs)

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Returns the distribution over the next token of each row.

        Args:
            obs: ``[N, L]`` token ids.
        """
        assert isinstance(obs, th.Tensor)
        log_probs, _ = self.network(self._as_batch(obs))
        return CategoricalDistribution(log_probs.shape[1]).proba_distribution(log_probs)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """Returns ``[N, 1]`` values, without gradients: Stable-Baselines3 asks for them between steps only.

        Args:
            obs: ``[N, L]`` token ids.
        """
        assert isinstance(obs, th.Tensor)
        return self._decode(obs)[1][:, None]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        return self._choose(self._decode(observation)[0], deterministic)

    def _choose(self, log_probs: th.Tensor, deterministic: bool) -> th.Tensor:
        if deterministic:
            return log_probs.argmax(1)
        # Sampled on the CPU, so that a seed gives the same tokens on every device.
        return th.multinomial(log_probs.exp().cpu(), 1, generator=self.generator).squeeze(1).to(log_probs.device)

    def _decode(self, obs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Returns ``[N, V]`` log-probabilities and ``[N]`` values of the next tokens."""
        # A new decoder has an empty cache.
        if self.training or self._decoder is None or self._decoder.shape != tuple(obs.shape):
            self._decoder = Decoder(self.network, obs.shape[0], obs.shape[1], bf16=self.bf16, half=self.bf16)
        return self._decoder.step(obs.cpu().numpy())

    def _as_batch(self, obs: th.Tensor) -> FrameBatch:
        """Returns a batch with one frame for each row, and one action after the last token of each frame."""
        rows = obs.cpu().numpy().astype(np.uint8)
        lengths = np.maximum((rows != 0).sum(1), 1)  # an empty row counts as one token of padding
        frames = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        last = [np.array([length - 1]) for length in lengths]
        return pack_frames(frames, last, self.grammar, obs.device)


def entropy(log_probs: th.Tensor) -> th.Tensor:
    """Returns the entropies ``[M]`` of distributions, in nats.

    Args:
        log_probs: ``[M, V]``; -inf for illegal tokens.
    """
    return -(log_probs.exp() * log_probs.clamp(min=_IMPOSSIBLE)).sum(-1)


def kl_divergence(log_probs: th.Tensor, reference: th.Tensor) -> th.Tensor:
    """Returns the Kullback-Leibler divergences ``[M]``, in nats, of distributions from those of a reference.

    Args:
        log_probs: ``[M, V]``; -inf for illegal tokens.
        reference: ``[M, V]`` log-probabilities of the reference.
    """
    difference = log_probs.clamp(min=_IMPOSSIBLE) - reference.clamp(min=_IMPOSSIBLE)
    return (log_probs.exp() * difference).sum(-1)
