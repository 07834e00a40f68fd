"""PPO on whole frames: Stable-Baselines3's own, extended by its hooks."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch as th
from stable_baselines3 import PPO

from o1nano.agents.frames import FrameRolloutBuffer
from o1nano.envs.grammar import Grammar
from o1nano.policies.actor_critic import PackedFrames, ReasoningPolicy

_CRITIC_BATCH = 2048  # actions


class FramePPO(PPO):
    """``PPO`` with a ``FrameRolloutBuffer``, a critic that is fitted apart, and a pull towards a reference policy.

    ``collect_rollouts`` and ``train`` are Stable-Baselines3's own. The critic reads the trunk without pulling at it
    (``Heads.values``), so it is fitted in a phase of its own, after the policy's, at its own learning rate and over as
    many epochs as it needs: the auxiliary phase of Cobbe et al. (2021), "Phasic policy gradient", undistilled.

    Args:
        policy: ``ReasoningPolicy`` or a subclass.
        env: A vector environment of ``ArithmeticVectorEnv``s, adapted.
        credit: See ``FrameRolloutBuffer``.
        depth: The environment's limit on open frames.
        critic_epochs: Passes of the critic over a rollout.
        critic_learning_rate: Of the critic (Adam).
        **kwargs: Everything else that ``PPO`` takes. ``ent_coef`` weighs the entropy relative to the reference, once
            there is one: see ``set_reference``.
    """

    policy: ReasoningPolicy
    rollout_buffer: FrameRolloutBuffer

    def __init__(
        self,
        policy: type[ReasoningPolicy],
        env: Any,
        credit: str = "blame",
        depth: int = 32,
        critic_epochs: int = 4,
        critic_learning_rate: float = 3e-3,
        **kwargs: Any,
    ) -> None:
        self.credit, self.depth = credit, depth
        self.critic_epochs, self.critic_learning_rate = critic_epochs, critic_learning_rate
        super().__init__(policy, env, rollout_buffer_class=FrameRolloutBuffer, **{"vf_coef": 0.0, **kwargs})

    def _setup_model(self) -> None:
        # The buffer is built before the policy, whose grammar it shares.
        given = self.policy_kwargs
        grammar = Grammar(given.get("thinking", True), given.get("call_stack", True), given.get("functions", False))
        self.rollout_buffer_kwargs = {"grammar": grammar, "depth": self.depth, "credit": self.credit}
        super()._setup_model()
        self.critic_optimizer = th.optim.Adam(self.policy.network.heads.value.parameters(), self.critic_learning_rate)

    def set_reference(self) -> None:
        """Freezes a copy of the present policy as the one that ``ent_coef`` holds on to."""
        self.policy.reference = copy.deepcopy(self.policy.network).requires_grad_(False).forward

    def train(self) -> None:
        """Updates policy and critic, unless no frame has ended in the rollout: then there is nothing to learn from."""
        if len(self.rollout_buffer.values):
            super().train()
            self._fit_critic()

    def _fit_critic(self) -> None:
        """Least squares of the critic on the returns of the rollout, on hidden states that are computed once."""
        samples = next(self.rollout_buffer.get())
        policy, value = self.policy, self.policy.network.heads.value
        with th.no_grad(), th.autocast(self.device.type, th.bfloat16, enabled=policy.bf16):
            hidden, _ = policy.network.acted(*cast(PackedFrames, samples.observations).batches)
        for _ in range(self.critic_epochs):
            for part in th.split(th.randperm(len(hidden), generator=policy.generator), _CRITIC_BATCH):
                self.critic_optimizer.zero_grad()
                loss = (value(hidden[part].float()).squeeze(1) - samples.returns[part]).square().mean()
                th.autograd.backward(loss)
                self.critic_optimizer.step()
        self.logger.record("train/critic_loss", loss.item())

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "critic_optimizer"]
