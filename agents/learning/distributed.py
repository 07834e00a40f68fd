"""Several processes that train one model, started by ``launch`` or by torchrun.

Every process plays its share of the environments and imitates its share of the demonstrations, with random streams of
its own. All of them begin with the same weights and take every step with the same gradient, the average over all, so
their weights stay the same to the last bit. A single process is a team of one, for which everything here is the
identity: nobody asks how many there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.errors import ConfigurationError, TeamError
from o1nano.envs.problems.problem import Level, stream

T = TypeVar("T")
_met = False  # whether this process has been one of several
_FAILED = 2  # exit status of a process whose leader has said what is wrong


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: Which one it is; 0 leads: it alone shows, logs and writes.
        size: How many there are.
        on_machine: How many of them are on this machine.
    """

    rank: int = 0
    size: int = 1
    on_machine: int = 1

    @classmethod
    def join(cls) -> Team:
        """Joins the processes that have been started together; a process that nobody has started so is alone."""
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return cls()
        if th.cuda.is_available():
            th.cuda.set_device(int(os.environ["LOCAL_RANK"]) % th.cuda.device_count())
        global _met
        _met = True
        # Objects and tensors of the CPU always go by Gloo.
        dist.init_process_group("cpu:gloo,cuda:nccl" if th.cuda.is_available() else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", 1)))

    def leave(self) -> None:
        """Ends the connection, when all is done."""
        if self.size > 1:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the process that shows, logs and writes."""
        return self.rank == 0

    @property
    def command(self) -> str:
        """What starts as many processes: on one machine the script does."""
        return "python" if self.size == self.on_machine else f"torchrun --nproc-per-node {self.on_machine}"

    def seed(self, seed: int) -> int:
        """Returns the process's own seed: the leader's is the given one, the others' are hashed."""
        return seed if self.leads else int(stream("rank", self.rank, seed).integers(2**32))

    def part(self, name: str, whole: int) -> int:
        """Returns the process's equal part of a number.

        Raises:
            ConfigurationError: If there are no equal parts.
        """
        if whole % self.size:
            raise ConfigurationError(f"{name}={whole} on {self.size} processes; accepted: a multiple of {self.size}")
        return whole // self.size

    def gather(self, mine: T) -> list[T]:
        """Returns what each process has given, in the order of ranks: the same list everywhere."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        with _others():
            dist.all_gather_object(found, mine)
        return found

    def lead(self, make: Callable[[], T]) -> T:
        """Has the leader make something, and returns it everywhere.

        Raises:
            SystemExit: In the other processes, if the leader has failed; it says why.
        """
        if self.size == 1:
            return make()
        box: list[Any] = [None, False]
        try:
            if self.leads:
                box = [make(), True]
        finally:  # the others wait, whatever has happened
            with _others():
                dist.broadcast_object_list(box)
        if not box[1]:
            raise SystemExit(_FAILED)
        made: T = box[0]
        return made

    @th.no_grad()
    def average(self, tensors: Sequence[th.Tensor], share: float = 1.0) -> None:
        """Replaces tensors by their averages over the processes, in one all-reduce of all of them.

        Args:
            tensors: As many, of the same shapes, in every process.
            share: Weight of this process; all of them must add up to ``size``.
        """
        if self.size == 1:
            return
        flat = th.cat([tensor.flatten() for tensor in tensors]) * (share / self.size)
        with _others():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, th.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def share(self, count: int, counts: Sequence[int]) -> float:
        """Returns the weight of a mean over ``count`` things, next to the means of all processes over ``counts``."""
        return count * self.size / max(1, sum(counts))

    def follow(self, module: th.nn.Module) -> None:
        """Gives a module the leader's weights."""
        self.average(list(module.parameters()), float(self.size) if self.leads else 0.0)

    @contextmanager
    def averaging(self, parameters: Iterable[th.nn.Parameter], share: Callable[[], float]) -> Iterator[None]:
        """Averages the gradients of every backward pass inside, before anybody else sees them.

        Args:
            parameters: Of which every backward pass must give all a gradient.
            share: Returns the weight of this process in the current pass.
        """
        owned, done = list(parameters), 0

        def count(parameter: th.Tensor) -> None:
            nonlocal done
            done += 1
            if done == len(owned):
                done = 0
                self.average([p.grad for p in owned if p.grad is not None], share())

        hooked = owned if self.size > 1 else []
        handles = [p.register_post_accumulate_grad_hook(count) for p in hooked]  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if done:  # some would have learned from their own gradients alone
            raise RuntimeError(f"a backward pass gave {done} of {len(owned)} parameters a gradient")

    def is_first_to_tell(self) -> bool:
        """Whether no other process has called this before: of those that are left, one speaks."""
        if self.size == 1:
            return True
        try:
            store = dist.distributed_c10d._get_default_store()
            return bool(store.add("o1nano/told", 1) == 1)
        except RuntimeError:  # the store has gone too
            return True


def end(status: int) -> NoReturn:
    """Ends the program. Threads of Gloo may outlive the group, and abort a process whose interpreter is taken down."""
    if _met:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


@contextmanager
def _others() -> Iterator[None]:
    """Turns the errors of a lost connection into one line."""
    try:
        yield
    except RuntimeError as error:
        raise TeamError("another process of the run has ended") from error


class JointThreshold:
    """A threshold that all processes pass together, on the weighted mean of their values, or none of them.

    It takes the place of the ``target_kl`` of stock PPO, which stops where ``approx_kl_div > 1.5 * target_kl``.

    Args:
        value: The threshold.
        team: The processes.
        share: Returns the weight of this process.
    """

    __array_ufunc__ = None  # NumPy leaves the comparison to this class

    def __init__(self, value: float, team: Team, share: Callable[[], float]) -> None:
        self.value, self.team, self.share = value, team, share

    def __rmul__(self, factor: float) -> JointThreshold:
        return JointThreshold(factor * self.value, self.team, self.share)

    def __lt__(self, value: Any) -> bool:
        mean = sum(self.team.gather(float(value) * self.share())) / self.team.size
        return bool(mean > self.value)


class SharedLevels(BaseCallback):
    """A curriculum that is the same in every process: it hears of all results, in the order of ranks.

    In a team of one it hears of them at once; otherwise when a rollout has ended, so that nobody waits before that.

    Args:
        curriculum: Which chooses.
        team: The processes.
    """

    def __init__(self, curriculum: Curriculum, team: Team) -> None:
        super().__init__()
        self.curriculum, self.team = curriculum, team
        self.results: list[tuple[Level, bool]] = []

    def draw(self, rng: np.random.Generator) -> Level:
        """See ``LevelSource``."""
        return self.curriculum.draw(rng)

    def record(self, level: Level, success: bool) -> None:
        """See ``LevelSource``."""
        self.results.append((level, bool(success)))
        if self.team.size == 1:
            self._on_rollout_end()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        for results in self.team.gather(self.results):
            for level, success in results:
                self.curriculum.record(level, success)
        self.results = []
