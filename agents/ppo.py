"""PPO on whole frames: Stable-Baselines3's own, extended by its hooks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO

from o1nano.agents.frames import ClosedFrame, Floats, FrameRolloutBuffer, pack_closed
from o1nano.envs.grammar import Grammar
from o1nano.policies.actor_critic import ReasoningPolicy


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
        super().__init__(policy, env, rollout_buffer_class=FrameRolloutBuffer, **kwargs)

    def _setup_model(self) -> None:
        # The buffer is built before the policy, whose grammar it shares.
        given = self.policy_kwargs
        grammar = Grammar(given.get("thinking", True), given.get("call_stack", True), given.get("functions", False))
        self.rollout_buffer_kwargs = {"grammar": grammar, "depth": self.depth, "credit": self.credit}
        super()._setup_model()

    def set_reference(self) -> None:
        """Freezes a copy of the present policy as the reference that ``kl_price`` refers to."""
        self.reference = copy.deepcopy(self.policy.network).requires_grad_(False)
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
        for index, reference in zip(order, parts, strict=True):
            out[index] = self.kl_price * (frames[index].log_probs - reference)
        return out

    def train(self) -> None:
        """Updates the policy, unless no frame has ended in the rollout: then there is nothing to learn from yet."""
        if len(self.rollout_buffer.values):
            super().train()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "reference"]
