"""Several processes that train one model, started by ``launch`` or by torchrun.

Every process plays its share of the environments and imitates its share of the demonstrations, with random streams of
its own. All of them begin with the same weights and take every step with the same gradient, the average over all, so
their weights stay the same to the last bit. A single process is a team of one, for which everything here is the
identity: nobody asks how many there are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.errors import ConfigurationError, TeamError
from o1nano.envs.problems.problem import Level
from o1nano.envs.seeding import stream

T = TypeVar("T")
_met = False  # whether this process has been one of several
_FAILED = 2  # exit status of a process whose leader has said what is wrong
_TORCHRUN = "either all variables that torchrun sets, or none"


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
        """Joins the processes that torchrun has started; without torchrun a process is alone.

        Raises:
            ConfigurationError: If a variable that torchrun sets is missing or makes no sense.
            TeamError: If the other processes cannot be reached.
        """
        size = _variable("WORLD_SIZE", 1, default=1)
        if size == 1:
            return cls()

        rank = _variable("RANK", 0, size - 1)
        on_machine = _variable("LOCAL_WORLD_SIZE", 1, size, default=1)
        local_rank = _variable("LOCAL_RANK", 0, on_machine - 1, default=0)
        _variable("MASTER_PORT", 1, 2**16 - 1)
        if not os.environ.get("MASTER_ADDR"):
            raise ConfigurationError(f"WORLD_SIZE={size} without MASTER_ADDR; expected {_TORCHRUN}")
        return cls.connect(rank, size, on_machine, local_rank)

    @classmethod
    def connect(
        cls,
        rank: int,
        size: int,
        on_machine: int | None = None,
        local_rank: int | None = None,
        meeting: str = "env://",
    ) -> Team:
        """Connects this process with the others.

        Args:
            rank: Which one it is, 0 to ``size`` - 1.
            size: Number of processes.
            on_machine: How many of them are on this machine; by default all.
            local_rank: Which of those on this machine it is; by default ``rank``.
            meeting: Where they meet, as the ``init_method`` of ``torch.distributed``; by default at ``MASTER_ADDR`` and
                ``MASTER_PORT``.

        Raises:
            TeamError: If the other processes cannot be reached.
        """
        global _met
        _met = True
        backend = "gloo"
        if th.cuda.is_available():
            th.cuda.set_device((rank if local_rank is None else local_rank) % th.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"  # objects and tensors of the CPU always go by Gloo

        try:
            dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)
        except RuntimeError as error:
            raise TeamError(
                f"cannot connect to the other processes ({_first_line(error)}); expected hosts that reach each other: "
                "GLOO_SOCKET_IFNAME names the network interface"
            ) from error
        return cls(rank, size, on_machine or size)

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

    def mean(self, value: float, weight: float) -> float:
        """Returns the mean of the values of all processes.

        Args:
            value: This process's.
            weight: Its weight; all of them must add up to ``size``.
        """
        return sum(self.gather(value * weight)) / self.size

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


def _variable(name: str, low: int, high: int = 2**31 - 1, default: int | None = None) -> int:
    """Reads a whole number from the environment.

    Args:
        name: Name of the variable.
        low: Smallest value.
        high: Largest value.
        default: Value of a variable that is not set; by default it must be.

    Raises:
        ConfigurationError: If the variable is missing, no whole number, or out of range.
    """
    text = os.environ.get(name)
    if text is None:
        if default is None:
            raise ConfigurationError(f"WORLD_SIZE={os.environ['WORLD_SIZE']} without {name}; expected {_TORCHRUN}")
        return default
    # No more digits than a number of this range has: int() of thousands of digits is an error of another kind.
    if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise ConfigurationError(f"{name}={text[:40]!r} in the environment; expected {low} to {high}")
    return int(text)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


@contextmanager
def _others() -> Iterator[None]:
    """Turns the errors of a lost connection into one line."""
    try:
        yield
    except RuntimeError as error:
        raise TeamError("another process of the run has ended") from error


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
