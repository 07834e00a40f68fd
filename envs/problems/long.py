"""Problems that fill a frame, from 256 to 128,000 tokens: the root works on them in place."""

from __future__ import annotations

from collections.abc import Iterable

from o1nano.envs.language.expression import Binary, Function, evaluate
from o1nano.envs.problems.family import FunctionFamily, Script

SHORT = 128
"""Tokens of the frame that a problem fills unless a level says otherwise."""


class LongFamily(FunctionFamily):
    """A function of very many numbers. ``other`` of a level is the length of the frame that a problem fills."""

    long = True

    def think(self, expr: Function, script: Script) -> Iterable[int] | None:
        """Calls every argument that is no number yet, then takes the family's steps: a root cannot tail-call."""
        for arg in expr.args:
            if isinstance(arg, Binary):
                script.call(arg)
                script.step()
        return self.steps(tuple(map(evaluate, expr.args)), script)
