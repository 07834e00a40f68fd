"""Shares problems between processes, each of one thread and with a copy of the model: a core each is faster."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch as th

from o1nano.agents.run.hardware import cores
from o1nano.envs.errors import ProcessGroupError
from o1nano.envs.problems.problem import Problem
from o1nano.policies.search.answers import Progress
from o1nano.policies.search.solver import Solver

if TYPE_CHECKING:
    from ctypes import Array, c_longlong
    from multiprocessing.process import BaseProcess

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """What is done with problems: a function of a module, or a ``partial`` of one."""

    def __call__(self, solver: Solver, problems: list[Problem], *, progress: Progress) -> list[T_co]:
        """Returns something for each problem, in their order; tells how much is done."""


class Workers:
    """Processes with a solver each; with a single one this process does the work.

    Args:
        solver: What answers.
        processes: How many; 0: one for each core, four at most.
    """

    def __init__(self, solver: Solver, processes: int = 0) -> None:
        self.solver = solver
        count = processes or min(4, cores())
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        if count > 1:
            context = multiprocessing.get_context("spawn")
            self.done: Array[c_longlong] = context.Array("q", count, lock=False)  # how much each has done
            for part in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, solver, self.done, part), daemon=True)
                process.start()
                theirs.close()  # so that the end of a process is the end of its pipe
                self.processes.append(process)
                self.pipes.append(ours)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.terminate()
            process.join()

    def run(self, work: Work[T], problems: list[Problem], progress: Progress) -> list[T]:
        """Does the work on parts of the problems, by the solver's configuration as it is now.

        Args:
            work: What is done with each part.
            problems: All of them.
            progress: Called with how much is done.

        Returns:
            What was found, in the order of the problems.

        Raises:
            ProcessGroupError: If a process has ended before its work.
        """
        count = len(self.pipes)
        if not count:
            return work(self.solver, problems, progress=progress)
        self.done[:] = [0] * count
        # Each has problems of all sizes, all at once: so the engine can decode those of like length together.
        for part, pipe in enumerate(self.pipes):
            pipe.send((self.solver.config, work, problems[part::count]))
        found: dict[Connection, Any] = {}
        while len(found) < count:
            for pipe in wait([pipe for pipe in self.pipes if pipe not in found], timeout=0.5):
                found[cast(Connection, pipe)] = _receive(cast(Connection, pipe))
            progress(sum(self.done))
        for pipe in self.pipes:  # only now: each is empty again
            if isinstance(found[pipe], Exception):
                raise found[pipe]
        return [found[self.pipes[index % count]][index // count] for index in range(len(problems))]


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise ProcessGroupError("a process has ended, perhaps for lack of memory; expected --processes 1") from None


def _serve(pipe: Connection, solver: Solver, done: Array[c_longlong], part: int) -> None:
    """Works until the first process has no more to do, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    th.set_num_threads(1)
    first = multiprocessing.parent_process()
    assert first is not None

    def progress(count: int) -> None:
        done[part] = count
        if not first.is_alive():
            raise SystemExit("the first process has ended")

    while True:
        try:
            solver.config, work, problems = pipe.recv()
        except EOFError:
            return
        try:
            found = work(solver, problems, progress=progress)
        except Exception as error:  # to be raised where the work was asked for
            found = error
        pipe.send(found)
