"""Answers problems in several processes, each of one thread and with a copy of the model: a core each is faster."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.pool import Pool
from types import TracebackType
from typing import TYPE_CHECKING

import torch as th

from o1nano.agents.solver import Solver
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.pose import Problem
from o1nano.policies.answers import Answer
from o1nano.policies.search import Search

if TYPE_CHECKING:
    from ctypes import Array, c_longlong

    Counts = Array[c_longlong]

_solver: Solver  # of a worker
_done: Counts  # of all workers


class Workers:
    """Processes with a solver each; with a single one this process does the work.

    Args:
        solver: What answers.
        processes: How many.
    """

    def __init__(self, solver: Solver, processes: int) -> None:
        self.solver, self.processes = solver, processes
        self.pool: Pool | None = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            self.done: Counts = context.Array("q", processes, lock=False)  # problems of each that are answered
            self.pool = context.Pool(processes, _begin, (solver, self.done))

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool is not None:
            self.pool.terminate()

    def answer(self, problems: list[Problem], how: Search | None, progress: Callable[[int], None]) -> list[Answer]:
        """Answers problems by the solver's configuration as it is now; returns the answers in their order."""
        if self.pool is None:
            return self.solver.solve_all(problems, how, progress=progress)
        self.done[:] = [0] * self.processes
        # Each has problems of all sizes, all at once: so the engine can decode those of like length together.
        work = [(part, self.solver.config, problems[part :: self.processes], how) for part in range(self.processes)]
        answering = self.pool.map_async(_answer, work, chunksize=1)
        while not answering.ready():
            answering.wait(0.5)
            progress(sum(self.done))
        found = answering.get()
        return [found[index % self.processes][index // self.processes] for index in range(len(problems))]


def _begin(solver: Solver, done: Counts) -> None:
    global _solver, _done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    th.set_num_threads(1)
    _solver, _done = solver, done


def _answer(work: tuple[int, EnvConfig, list[Problem], Search | None]) -> list[Answer]:
    part, config, problems, how = work

    def progress(answered: int) -> None:
        _done[part] = answered

    _solver.config = config
    return _solver.solve_all(problems, how, progress=progress)
