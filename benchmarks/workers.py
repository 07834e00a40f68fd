"""Answers problems in several processes, each of one thread and with a copy of the model: a core each is faster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from math import ceil
from multiprocessing.pool import Pool
from types import TracebackType

import torch as th

from o1nano.agents.solver import Solver
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.pose import Problem
from o1nano.policies.answers import Answer
from o1nano.policies.search import Search

MOST = 1024  # problems that are handed over at once: few enough to show progress, enough to decode together

_solver: Solver  # of a worker


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
            self.pool = multiprocessing.get_context("spawn").Pool(processes, _begin, (solver,))

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
        parts = ceil(len(problems) / min(MOST, ceil(len(problems) / self.processes)))
        # Every part has problems of all sizes, so none takes much longer than the others.
        work = [(self.solver.config, problems[part::parts], how) for part in range(parts)]
        found: list[list[Answer]] = []
        for answers in self.pool.imap(_answer, work):
            found.append(answers)
            progress(sum(map(len, found)))
        return [found[index % parts][index // parts] for index in range(len(problems))]


def _begin(solver: Solver) -> None:
    global _solver
    th.set_num_threads(1)
    _solver = solver


def _answer(work: tuple[EnvConfig, list[Problem], Search | None]) -> list[Answer]:
    config, problems, how = work
    _solver.config = config
    return _solver.solve_all(problems, how)
