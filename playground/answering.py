"""Answers a visitor's question with a model, within limits."""

from __future__ import annotations

import time
from dataclasses import dataclass

from o1nano.agents.evaluation.reports import usage_line
from o1nano.envs.errors import O1NanoError
from o1nano.playground.narration import Narrator
from o1nano.playground.worker import Gone, Visit
from o1nano.policies.search.events import Event, TokenEmitted
from o1nano.policies.search.solver import Solver


@dataclass(frozen=True)
class Limits:
    """What one question may cost, and how many visitors may wait.

    Attributes:
        tokens: Tokens of all paths and checks together.
        seconds: Time of the search.
        visitors: Visitors who wait while another one's question is answered.
    """

    tokens: int = 40_000
    seconds: float = 60.0
    visitors: int = 8


class LimitError(O1NanoError):
    """A question costs too much."""


class Answering:
    """Answers questions.

    Args:
        solver: The model.
        limits: What a question may cost.
    """

    def __init__(self, solver: Solver, limits: Limits) -> None:
        self.solver = solver
        self.limits = limits

    def warm_up(self) -> None:
        """Compiles what decoding needs, so that the first visitor does not wait for it."""
        self.solver.solve("1+1", paths=2)

    def __call__(self, visit: Visit) -> None:
        """Answers a question and sends every step to the visitor.

        Raises:
            O1NanoError: If the problem cannot be read, or costs too much.
            Gone: If the visitor has gone.
        """
        question, own = visit.question, self.solver
        solver = Solver(own.network, own.config, question.paths, question.seed, own.record, own.tokens)
        problem = solver.read(question.problem)
        visit.send({"kind": "begin", "problem": problem.text, "select": question.select})
        for kind in solver.unlearned([problem]):
            visit.send({"kind": "note", "text": f"the model has not learned problems of this kind: {kind}"})

        narrator = Narrator(solver.config.grammar)
        watch = _Watch(visit, narrator, self.limits)
        (answer,) = solver.solve_all([problem], question.search, observe=watch)
        visit.send(narrator.conclude(answer, usage_line(answer)))


class _Watch:
    """Sends the events of a search to a visitor, and ends it if it costs too much or the visitor has gone."""

    def __init__(self, visit: Visit, narrator: Narrator, limits: Limits) -> None:
        self.visit = visit
        self.narrator = narrator
        self.limits = limits
        self.tokens = 0
        self.deadline = time.monotonic() + limits.seconds

    def __call__(self, event: Event) -> None:
        if self.visit.has_gone:
            raise Gone
        if isinstance(event, TokenEmitted):
            self.tokens += 1
            self._check_limits()
        message = self.narrator.tell(event)
        if message is not None:
            self.visit.send(message)

    def _check_limits(self) -> None:
        limits = self.limits
        if self.tokens > limits.tokens:
            raise LimitError(f"stopped after {limits.tokens} tokens; expected a smaller problem or fewer paths")
        if time.monotonic() > self.deadline:
            raise LimitError(f"stopped after {limits.seconds:g} s; expected a smaller problem or fewer paths")
