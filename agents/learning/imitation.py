"""The supervised warm start: masked cross-entropy on the expert's frames, and a first fit of the critic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch as th

from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.muon import BatchedMuon
from o1nano.agents.learning.packing import TrainingFrame, joined, pack_training_frames
from o1nano.envs.ranges import Range
from o1nano.envs.seeding import stream
from o1nano.policies.network.model import ReasoningNetwork


@dataclass(frozen=True)
class WarmStartConfig:
    """Imitation of the expert."""

    steps: Annotated[int, Range(0, 10**9)] = 1600
    """Largest number of steps; the learning rates have decayed to 0 there."""
    batch_tokens: Annotated[int, Range(1, 10**8)] = 2048
    """Tokens of a batch, over all processes."""
    learning_rate: Annotated[float, Range(0, 10)] = 2e-3
    """Peak of the learning rate of embeddings, norms and heads (AdamW): linear warm-up, then linear decay."""
    matrix_learning_rate: Annotated[float, Range(0, 10)] = 3e-3
    """Peak of the learning rate of the matrices of the blocks (Muon), on the same schedule."""
    stop_at: Annotated[float | None, Range(0, 1)] = 0.99
    """Stops when this share of check problems is solved (demonstrated sizes, training split). A network that imitates
    these for longer solves fewer of the next size. None never stops early."""
    check_every: Annotated[int | None, Range(1, 10**9)] = 200
    """Steps between such checks. None never checks."""
    mistake_rate: Annotated[float, Range(0, 1)] = 0.4
    """Share of quotient digits that the expert first guesses wrong and then revises; only the revision is imitated."""
    corruption_rate: Annotated[float, Range(0, 1)] = 0.1
    """Share of frames with a planted error, for the critic only."""
    value_coef: Annotated[float, Range(0, 1000)] = 0.1
    """Weight of the critic's squared error."""


class WarmStart:
    """Trains a network on demonstrations with optimizers of its own.

    Args:
        network: The network.
        config: Hyperparameters.
        bf16: Whether to compute in bfloat16 autocast.
        seed: Seed of dropout.
        process_group: The processes that train together, each on demonstrations of its own.

    Attributes:
        done: Number of steps taken.
        tokens: Number of tokens trained on, over all processes.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        config: WarmStartConfig,
        bf16: bool,
        seed: int = 0,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.network = network
        self.config = config
        self.bf16 = bf16
        self.seed = seed
        self.process_group = process_group or ProcessGroup()
        self.optimizers = build_optimizers(network, config)
        self.done = 0
        self.tokens = 0

    def step(self, batch: list[TrainingFrame]) -> dict[str, float]:
        """Takes one optimizer step.

        Args:
            batch: Demonstrations sorted by length.

        Returns:
            ``loss``, the mean cross-entropy of the imitated actions; ``value_loss``, the critic's mean squared error;
            ``gradient_norm`` before clipping. The losses are those of this process.
        """
        self.network.train()
        self._set_learning_rates()
        with th.random.fork_rng():
            # Dropout depends on the number of the step only, so that a resumed run draws the same.
            th.manual_seed(int(stream("dropout", self.seed, self.done).integers(2**63)))
            policy_loss, value_loss = imitation_losses(self.network, batch, self.bf16)

        # Both losses are means over this process's actions; weighted, they average to means over those of all.
        own = _count(batch)
        tokens, imitated, valued = zip(*self.process_group.gather(own), strict=True)
        policy_weight = self.process_group.weight(own.imitated, imitated)
        value_weight = self.process_group.weight(own.valued, valued)
        loss = policy_weight * policy_loss + value_weight * self.config.value_coef * value_loss

        # One step on the average gradient of all processes.
        self.network.zero_grad()
        th.autograd.backward(loss)
        self.process_group.average_gradients(self.network.parameters())
        norm = th.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

        # Counters for the schedule, and for the horizontal axis of the logs.
        self.done += 1
        self.tokens += sum(tokens)
        return {"loss": policy_loss.item(), "value_loss": value_loss.item(), "gradient_norm": float(norm)}

    def run(self, batches: Iterator[list[TrainingFrame]], should_stop: Callable[[int, dict[str, float]], bool]) -> None:
        """Trains until ``should_stop`` returns True, or for ``config.steps`` steps.

        Args:
            batches: Demonstrations.
            should_stop: Called after every step, with the number of steps taken and what ``step`` returned.
        """
        while self.done < self.config.steps:
            losses = self.step(next(batches))
            if should_stop(self.done, losses):
                return

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of the optimizers and the counters; the network has a state of its own."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"optimizers": optimizers, "done": self.done, "tokens": self.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` returned.
        """
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.done = state["done"]
        self.tokens = state["tokens"]

    def _set_learning_rates(self) -> None:
        """Sets the learning rates of the next step: 100 steps of linear warm-up, and a linear decay to 0."""
        # At step 0 the factor is 0.01, at step 99 nearly 1, at half of the steps 0.5.
        warm_up = min(1.0, (self.done + 1) / 100)
        factor = warm_up * (1 - self.done / self.config.steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor


def imitation_losses(network: ReasoningNetwork, frames: list[TrainingFrame], bf16: bool) -> tuple[th.Tensor, th.Tensor]:
    """Returns the mean cross-entropy of the imitated actions, and the mean squared error of the critic.

    Args:
        network: The network.
        frames: Demonstrations sorted by length.
        bf16: Whether to compute in bfloat16 autocast.
    """
    device = next(network.parameters()).device
    batch = pack_training_frames(frames, network.grammar, device)
    with th.autocast(device.type, th.bfloat16, enabled=bf16):
        log_probs, values = network(batch)  # [actions, V] and [actions]

    targets = th.from_numpy(joined(frames, "actions")).to(device).long()
    imitate = th.from_numpy(joined(frames, "imitate")).to(device)
    returns = th.from_numpy(joined(frames, "returns")).to(device)

    # Mistakes are inputs, so that their repair is learned, but they are not targets of the policy.
    chosen = log_probs.gather(1, targets[:, None]).squeeze(1)
    return -chosen[imitate].mean(), (values - returns).square().mean()


class _Counts(NamedTuple):
    """What the means of a batch are taken over."""

    tokens: int
    imitated: int
    valued: int


def _count(batch: list[TrainingFrame]) -> _Counts:
    # The critic learns from every action, the policy only from those that are to be imitated.
    tokens = imitated = valued = 0
    for frame in batch:
        tokens += len(frame.tokens)
        imitated += int(frame.imitate.sum())
        valued += len(frame.returns)
    return _Counts(tokens, imitated, valued)


def build_optimizers(network: ReasoningNetwork, config: WarmStartConfig) -> list[th.optim.Optimizer]:
    """Returns Muon (Jordan et al. 2024) for the matrices of the blocks and AdamW for everything else.

    Muon makes the steps of a matrix orthogonal. Here it needs fewer than half of AdamW's tokens (dev/LOG.md).

    Args:
        network: The network.
        config: Gives the learning rates.
    """
    matrices: list[th.nn.Parameter] = []
    others: list[th.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = name.startswith("trunk.blocks.") and parameter.ndim == 2
        receiver = matrices if is_matrix else others
        receiver.append(parameter)

    muon = BatchedMuon(matrices, config.matrix_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = th.optim.AdamW(others, config.learning_rate, betas=(0.9, 0.98), fused=True)

    # The schedule multiplies the peak, and every checkpoint keeps it with the optimizer.
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]
