"""Several processes that train one model, started by ``launch`` or by torchrun.

Every process has its own environments, its own demonstrations and its own random streams. All processes start with the
same weights and take every step with the same gradient, the average over all of them, so their weights stay equal to
the last bit.

A single process is a group of size one. There every method returns its argument or does nothing, so callers need not
ask how many processes there are.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback

from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.errors import ConfigurationError, ProcessGroupError
from o1nano.envs.problems.problem import Level
from o1nano.envs.seeding import stream

T = TypeVar("T")
_has_connected = False  # whether this process has been one of several
_RANK0_FAILED = 2  # exit status of the other processes, after the one of rank 0 has printed what is wrong
_POLL = 0.02  # seconds between two looks at whether the other processes have come
_TORCHRUN = "either all variables that torchrun sets, or none"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: Number of this process, 0 to ``size`` - 1. Only the process of rank 0 prints, logs and writes files.
        size: Number of processes.
        on_machine: Number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    on_machine: int = 1

    @classmethod
    def join(cls) -> ProcessGroup:
        """Joins the processes that torchrun has started; without torchrun the process is alone.

        Raises:
            ConfigurationError: If a variable that torchrun sets is missing or out of range.
            ProcessGroupError: If the other processes cannot be reached.
        """
        size = _variable("WORLD_SIZE", 1, default=1)
        if size == 1:
            return cls()

        # torch.distributed reads the rest itself, but its errors name neither the variable nor its range.
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
    ) -> ProcessGroup:
        """Connects this process with the others.

        Args:
            rank: Number of this process, 0 to ``size`` - 1.
            size: Number of processes.
            on_machine: Number of processes on this machine; by default all.
            local_rank: Number of this process among those on this machine; by default ``rank``.
            meeting: Where the processes find each other, as the ``init_method`` of ``torch.distributed``; by default
                at ``MASTER_ADDR`` and ``MASTER_PORT``.

        Raises:
            ProcessGroupError: If the other processes cannot be reached.
        """
        global _has_connected
        _has_connected = True
        backend = "gloo"
        if th.cuda.is_available():
            th.cuda.set_device((rank if local_rank is None else local_rank) % th.cuda.device_count())
            # Python objects and tensors on the CPU always travel by Gloo.
            backend = "cpu:gloo,cuda:nccl"

        try:
            dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)
        except RuntimeError as error:
            raise ProcessGroupError(
                f"cannot connect to the other processes ({_first_line(error)}); expected hosts that reach each other: "
                "GLOO_SOCKET_IFNAME names the network interface"
            ) from error
        return cls(rank, size, on_machine or size)

    def leave(self) -> None:
        """Closes the connection, when all work is done."""
        if self.size > 1:
            dist.destroy_process_group()

    @property
    def is_rank0(self) -> bool:
        """Whether this is the process that prints, logs and writes files."""
        return self.rank == 0

    @property
    def command(self) -> str:
        """The command that starts the same number of processes; on one machine the script starts them itself."""
        if self.size == self.on_machine:
            return "python"
        return f"torchrun --nproc-per-node {self.on_machine}"

    def seed(self, seed: int) -> int:
        """Returns the seed of this process.

        Args:
            seed: Seed of the run. Rank 0 uses it as it is; the other ranks hash it with their number.
        """
        if self.is_rank0:
            return seed
        return int(stream("rank", self.rank, seed).integers(2**32))

    def divide(self, name: str, whole: int) -> int:
        """Returns the part of this process when a number is divided equally.

        Args:
            name: Name of the setting, for the error message.
            whole: The number for all processes together.

        Raises:
            ConfigurationError: If the number is not a multiple of ``size``.
        """
        if whole % self.size:
            raise ConfigurationError(f"{name}={whole} on {self.size} processes; expected a multiple of {self.size}")
        return whole // self.size

    def gather(self, mine: T) -> list[T]:
        """Returns the objects of all processes, ordered by rank; every process gets the same list.

        Args:
            mine: The object of this process. It must be picklable.
        """
        if self.size == 1:
            return [mine]
        # all_gather_object fills the list in the order of ranks.
        gathered: list[Any] = [None] * self.size
        with _explain_lost_connection():
            dist.all_gather_object(gathered, mine)
        return gathered

    def wait(self) -> None:
        """Waits until every process has called this.

        Python handles signals meanwhile. In the other exchanges it does not, so they are no place for a long wait.
        """
        if self.size == 1:
            return
        with _explain_lost_connection():
            exchange = dist.all_reduce(th.zeros(1), async_op=True)
            while not exchange.is_completed():
                time.sleep(_POLL)

            # Raises the error of a lost connection.
            exchange.wait()

    def broadcast_from_rank0(self, make: Callable[[], T]) -> T:
        """Calls a function in the process of rank 0, and returns its result in every process.

        Args:
            make: The function. Its result must be picklable.

        Raises:
            SystemExit: In the other processes, if the function has raised. Rank 0 raises the original error.
        """
        if self.size == 1:
            return make()

        message: list[Any] = [None, False]  # the result, and whether there is one
        try:
            if self.is_rank0:
                message = [make(), True]
        finally:
            # Also after an error: the other processes are waiting for this message.
            with _explain_lost_connection():
                dist.broadcast_object_list(message)

        if not message[1]:
            raise SystemExit(_RANK0_FAILED)
        result: T = message[0]
        return result

    @th.no_grad()
    def average(self, tensors: Sequence[th.Tensor], weight: float = 1.0) -> None:
        """Replaces tensors by their averages over all processes, in one all-reduce.

        Args:
            tensors: The same number of tensors, of the same shapes, in every process.
            weight: Weight of this process; the weights of all processes must add up to ``size``.
        """
        if self.size == 1:
            return
        # One large message is much faster than many small ones.
        flat = th.cat([tensor.flatten() for tensor in tensors]) * (weight / self.size)
        with _explain_lost_connection():
            dist.all_reduce(flat)

        # Each tensor takes its own stretch of the flat sum back.
        lengths = [tensor.numel() for tensor in tensors]
        for tensor, averaged in zip(tensors, th.split(flat, lengths), strict=True):
            tensor.copy_(averaged.view_as(tensor))

    def average_gradients(self, parameters: Iterable[th.nn.Parameter], weight: float = 1.0) -> None:
        """Replaces gradients by their averages over all processes.

        Args:
            parameters: The same parameters in every process; those without a gradient are left out.
            weight: Weight of this process; the weights of all processes must add up to ``size``.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self.average(gradients, weight)

    def weight(self, count: int, counts: Sequence[int]) -> float:
        """Returns the weight that turns an average of means into the mean of everything.

        With 1 and 3 things in two processes the weights are 0.5 and 1.5: the average of 0.5 * mean_0 and 1.5 * mean_1
        is the mean over all four.

        Args:
            count: Number of things that the mean of this process is taken over.
            counts: The same numbers of all processes.
        """
        return count * self.size / max(1, sum(counts))

    def broadcast_weights(self, module: th.nn.Module) -> None:
        """Copies the parameters of rank 0 into the module of every process.

        Args:
            module: The same module, apart from its values, in every process.
        """
        # An average in which only rank 0 counts.
        self.average(list(module.parameters()), float(self.size) if self.is_rank0 else 0.0)

    def mean(self, value: float, weight: float) -> float:
        """Returns the weighted mean of one value of each process.

        Args:
            value: The value of this process.
            weight: Its weight; the weights of all processes must add up to ``size``.
        """
        return sum(self.gather(value * weight)) / self.size

    def report_once(self) -> bool:
        """Returns True in the first process that calls this, so that only one of those that are left reports an error.

        A second call in the same process returns False.
        """
        if self.size == 1:
            return True
        # The store that the processes met in outlives the connections between them; its counter starts at 0.
        try:
            store = dist.distributed_c10d._get_default_store()
            return bool(store.add("o1nano/reported", 1) == 1)
        except RuntimeError:  # the process that holds the store has ended too
            return True


def end(status: int) -> NoReturn:
    """Ends the program.

    Threads of Gloo may outlive the group and abort a process whose interpreter shuts down, so a process that has been
    connected ends without that.

    Args:
        status: Exit status.
    """
    if _has_connected:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _variable(name: str, low: int, high: int = 2**31 - 1, default: int | None = None) -> int:
    """Reads a whole number from an environment variable.

    Args:
        name: Name of the variable.
        low: Smallest value.
        high: Largest value.
        default: Value of a variable that is not set; None if it must be set.

    Raises:
        ConfigurationError: If the variable is missing, not a whole number, or out of range.
    """
    text = os.environ.get(name)
    if text is None:
        if default is None:
            raise ConfigurationError(f"WORLD_SIZE={os.environ['WORLD_SIZE']} without {name}; expected {_TORCHRUN}")
        return default

    # At most ten digits: int() raises another kind of error for thousands of them.
    if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise ConfigurationError(f"{name}={text[:40]!r} in the environment; expected {low} to {high}")
    return int(text)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


@contextmanager
def _explain_lost_connection() -> Iterator[None]:
    """Turns the errors of a lost connection into one line.

    Raises:
        ProcessGroupError: If communication fails.
    """
    try:
        yield
    except RuntimeError as error:
        raise ProcessGroupError("another process of the run has ended") from error


class SharedCurriculum(BaseCallback):
    """A ``LevelSampler`` around a curriculum that stays the same in every process.

    The curriculum receives the results of all processes, ordered by rank. With several processes it receives them when
    a rollout has ended, because every exchange makes all processes wait; with one process it receives them at once.

    Args:
        curriculum: Chooses the levels.
        process_group: The processes that share it.
    """

    def __init__(self, curriculum: Curriculum, process_group: ProcessGroup) -> None:
        super().__init__()
        self.curriculum = curriculum
        self.process_group = process_group
        self.results: list[tuple[Level, bool]] = []

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns the level of the next problem.

        Args:
            rng: Source of randomness.
        """
        return self.curriculum.draw(rng)

    def record(self, level: Level, success: bool) -> None:
        """Notes the result of an episode.

        Args:
            level: Level of its problem.
            success: Whether the answer was right.
        """
        self.results.append((level, bool(success)))
        if self.process_group.size == 1:
            self._on_rollout_end()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        # Every process records the same results in the same order, so the curricula stay equal.
        for results in self.process_group.gather(self.results):
            for level, success in results:
                self.curriculum.record(level, success)
        self.results = []
