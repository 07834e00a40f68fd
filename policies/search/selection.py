"""Which of several paths is believed. Never the longest: length is no argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from o1nano.policies.search.answers import Answer

Select = Literal["majority", "likelihood", "check", "oracle"]


def choose(paths: Sequence[Answer], select: Select, passed: Sequence[int] | None = None) -> Answer:
    """Returns the path that is believed.

    Every way of choosing looks at paths that came to an answer, if there are any, and ends in the same tie-break:
    the answer that more paths gave, then the likelier path.

    Args:
        paths: Attempts at one problem.
        select: ``"majority"``: the most frequent answer. ``"likelihood"``: the likeliest path. ``"check"``: the answer
            that passed most checks. ``"oracle"``: a right one, if there is one; it looks at the solution, so it is an
            upper bound and no way of answering.
        passed: For ``"check"``: the number of checks that each path's answer has passed.
    """
    votes = Counter(path.text for path in paths if path.text)

    def rank(index: int) -> tuple[bool, float, int, float]:
        path = paths[index]
        merit = {
            "majority": 0.0,
            "likelihood": path.log_prob,
            "check": passed[index] if passed is not None else 0.0,
            "oracle": float(path.correct),
        }[select]
        return bool(path.text), merit, votes[path.text], path.log_prob

    return paths[max(range(len(paths)), key=rank)]


def with_cost_of_all(chosen: Answer, paths: Sequence[Answer]) -> Answer:
    """Returns a path's answer with what all paths have cost."""
    tokens = ("reasoning_tokens", "completion_tokens", "subtask_tokens")
    counted = (*tokens, "subtasks", "revisions", "shared", "paths")
    total = {name: sum(getattr(path, name) for path in paths) for name in counted}
    most = {name: max(getattr(path, name) for path in paths) for name in ("depth", "longest_context", "seconds")}
    return replace(chosen, **total, **most)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Returns the chance that one of k paths is right, without bias, from n of which some are (Chen et al. 2021).

    Args:
        n: Paths that were tried.
        correct: How many of them were right.
        k: At most n.
    """
    chance = 1.0
    for i in range(k):
        chance *= max(0, n - correct - i) / (n - i)
    return 1.0 - chance
