"""The supervised warm start: masked cross-entropy on the expert's frames, and a first fit of the critic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.agents.learning.demonstrations import Demonstration
from o1nano.agents.learning.distributed import Team
from o1nano.agents.learning.muon import BatchedMuon
from o1nano.envs.ranges import Range
from o1nano.envs.seeding import stream
from o1nano.policies.network.frame_batch import pack_frames
from o1nano.policies.network.model import ReasoningNetwork


@dataclass(frozen=True)
class WarmStartConfig:
    """Imitation of the expert."""

    steps: Annotated[int, Range(0, 10**9)] = 800
    """Most steps; the learning rates decay towards this number."""
    batch_tokens: Annotated[int, Range(1, 10**8)] = 2048
    """Tokens of a step."""
    learning_rate: Annotated[float, Range(0, 10)] = 2e-3
    """Peak of the learning rate of embeddings, norms and heads (AdamW): linear warm-up, then linear decay."""
    matrix_learning_rate: Annotated[float, Range(0, 10)] = 3e-3
    """The same for the matrices of the blocks (Muon)."""
    stop_at: Annotated[float | None, Range(0, 1)] = 0.95
    """Stops once this share of check problems is solved (demonstrated sizes, of the training split): PPO is left
    something to do. None never stops early."""
    check_every: Annotated[int | None, Range(1, 10**9)] = 100
    """Steps between such checks. None never checks."""
    mistake_rate: Annotated[float, Range(0, 1)] = 0.4
    """Share of quotient digits that the expert first guesses wrong and then revises; it is imitated in the latter."""
    corruption_rate: Annotated[float, Range(0, 1)] = 0.1
    """Share of frames with a planted error, for the critic only."""
    value_coef: Annotated[float, Range(0, 1000)] = 0.1
    """Weight of the critic's squared error."""


class WarmStart:
    """Trains a network on demonstrations with an optimizer of its own.

    Args:
        network: What is trained.
        config: How.
        bf16: Whether to compute in bfloat16 autocast.
        seed: Of dropout.
        team: The processes that learn together, each from demonstrations of its own.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        config: WarmStartConfig,
        bf16: bool,
        seed: int = 0,
        team: Team | None = None,
    ) -> None:
        self.network, self.config, self.bf16, self.seed, self.team = network, config, bf16, seed, team or Team()
        self.device = next(network.parameters()).device
        self.optimizers = build_optimizers(network, config)
        self.done = 0  # steps
        self.tokens = 0  # of all processes

    def step(self, batch: list[Demonstration]) -> dict[str, float]:
        """Takes one optimizer step on demonstrations sorted by length; returns the losses."""
        self.network.train()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self._schedule()
        with th.random.fork_rng():  # a step's dropout depends on nothing but its number
            th.manual_seed(int(stream("dropout", self.seed, self.done).integers(2**63)))
            policy_loss, value_loss = self._losses(batch)
        counts = [sum(len(frame.tokens) for frame in batch), sum(int(frame.imitate.sum()) for frame in batch)]
        counts.append(sum(len(frame.returns) for frame in batch))
        tokens, imitated, valued = zip(*self.team.gather(counts), strict=True)
        self.network.zero_grad()
        th.autograd.backward(
            self.team.share(counts[1], imitated) * policy_loss
            + self.team.share(counts[2], valued) * self.config.value_coef * value_loss
        )
        self.team.average([p.grad for p in self.network.parameters() if p.grad is not None])
        norm = th.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.done += 1
        self.tokens += sum(tokens)
        return {"loss": policy_loss.item(), "value_loss": value_loss.item(), "gradient_norm": float(norm)}

    def run(self, batches: Iterator[list[Demonstration]], check: Callable[[int, dict[str, float]], bool]) -> None:
        """Trains until ``check``, called after every step with its number and losses, returns True, or to the end."""
        while self.done < self.config.steps:
            losses = self.step(next(batches))
            if check(self.done, losses):
                return

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizers' states and the counters; the network has a state of its own."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"optimizers": optimizers, "done": self.done, "tokens": self.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.done, self.tokens = state["done"], state["tokens"]

    def _losses(self, frames: list[Demonstration]) -> tuple[th.Tensor, th.Tensor]:
        """Mean cross-entropy of the imitated actions, and mean squared error of the critic."""
        tokens, positions = [frame.tokens[:-1] for frame in frames], [frame.positions for frame in frames]
        batch = pack_frames(tokens, positions, self.network.grammar, self.device)
        with th.autocast(self.device.type, th.bfloat16, enabled=self.bf16):
            log_probs, values = self.network(batch)

        def tensor(parts: list[npt.NDArray[Any]]) -> th.Tensor:
            return th.from_numpy(np.concatenate(parts)).to(self.device)

        targets = tensor([frame.tokens[frame.positions + 1] for frame in frames]).long()
        imitate = tensor([frame.imitate for frame in frames])
        returns = tensor([frame.returns for frame in frames])
        chosen = log_probs.gather(1, targets[:, None]).squeeze(1)
        return -chosen[imitate].mean(), (values - returns).square().mean()

    def _schedule(self) -> float:
        warm_up = min(1.0, (self.done + 1) / 100)
        return warm_up * (1 - self.done / self.config.steps)


def build_optimizers(network: ReasoningNetwork, config: WarmStartConfig) -> list[th.optim.Optimizer]:
    """Returns Muon (Jordan et al. 2024) for the matrices of the blocks and AdamW for everything else.

    Muon makes the steps of a matrix orthogonal. Here it needs fewer than half of AdamW's tokens (dev/LOG.md).
    """
    matrices = [parameter for parameter in network.trunk.blocks.parameters() if parameter.ndim == 2]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    muon = BatchedMuon(matrices, config.matrix_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = th.optim.AdamW(others, config.learning_rate, betas=(0.9, 0.98), fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]
