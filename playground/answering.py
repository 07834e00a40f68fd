"""Answers a visitor's question with a model, within limits."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass

from o1nano.agents.evaluation.reports import usage_line
from o1nano.envs.errors import O1NanoError
from o1nano.playground.narration import Narrator
from o1nano.playground.worker import Gone, Visit
from o1nano.policies.search.events import Event, TokenEmitted
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

_WARM_UP_TOKENS = 64  # enough that every loop is compiled


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
        # A model that never ends must not keep the page from being served.
        meter = _Meter(Limits(_WARM_UP_TOKENS, math.inf))
        with suppress(LimitError):
            self.solver.solve_all(["1+1"], SearchOptions(2), observe=meter)

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
            visit.send({"kind": "note", "text": f"This may be wrong: the model is not reliable at {kind}."})

        narrator = Narrator(solver.config.grammar)
        watch = _Watch(visit, narrator, self.limits)
        (answer,) = solver.solve_all([problem], question.search, observe=watch)
        visit.send(narrator.conclude(answer, usage_line(answer)))


class _Meter:
    """Counts the tokens and the seconds of a search, and ends it if it costs too much."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.tokens = 0
        self.deadline = time.monotonic() + limits.seconds

    def __call__(self, event: Event) -> None:
        if not isinstance(event, TokenEmitted):
            return
        self.tokens += 1
        if self.tokens > self.limits.tokens:
            raise LimitError(f"stopped after {self.limits.tokens} tokens; expected a smaller problem or fewer paths")
        if time.monotonic() > self.deadline:
            raise LimitError(f"stopped after {self.limits.seconds:g} s; expected a smaller problem or fewer paths")


class _Watch:
    """Sends the events of a search to a visitor, and ends it if it costs too much or the visitor has gone."""

    def __init__(self, visit: Visit, narrator: Narrator, limits: Limits) -> None:
        self.visit = visit
        self.narrator = narrator
        self.meter = _Meter(limits)

    def __call__(self, event: Event) -> None:
        if self.visit.has_gone:
            raise Gone
        self.meter(event)
        message = self.narrator.tell(event)
        if message is not None:
            self.visit.send(message)
