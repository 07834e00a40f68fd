"""Families that draw the problems of another family in another way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from o1nano.envs.language.expression import Task
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.script import Script


class Derived(Family[Any]):
    """Says, and thinks about, problems as another family does.

    It only draws: who reads its problems finds them in the family of their operator or function.

    Args:
        base: The other family.
    """

    def __init__(self, base: Family[Any]) -> None:
        self.base = base
        self.symbolic = base.symbolic
        self.phrasings = base.phrasings
        self.nouns = base.nouns
        self.orders = base.orders
        self.size_name = base.size_name
        self.first_value = base.first_value
        self.default_sizes = base.default_sizes
        self.extra_name = base.extra_name

    @property
    def origin(self) -> Family[Any]:
        """The other family, or what that is derived from."""
        return self.base.origin

    def imply(self, task: Task, given: Mapping[int, int]) -> Task:
        """Returns a problem in which some arguments have the values that a template implies.

        Args:
            task: A problem of this family.
            given: Values by the index of their argument.
        """
        implied: Task = self.base.imply(task, given)
        return implied

    def think(self, task: Task, script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking in a subtask of the other family.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        return self.base.think(task, script)
