"""Expressions, and the expert's frames for prompts, for the tests of problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from o1nano.envs.language.expression import Binary, Expr, Function, Task, evaluate
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, PROBLEM, SUBTASK, TIMES, tokenize
from o1nano.envs.problems.expert import write_frame
from o1nano.envs.problems.problem import Problem
from o1nano.envs.problems.registry import read_task
from o1nano.envs.problems.script import Script

OPERATORS = st.sampled_from((PLUS, MINUS, TIMES))
NUMBERS = st.integers(-(10**12), 10**12)


def in_parentheses(op: int, left: Expr, right: Expr) -> Binary:
    """An operation that is written in parentheses."""
    return Binary(op, left, right, parens=True)


def _branches(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.builds(in_parentheses, OPERATORS | st.just(DIVIDE), inner, inner)


TREES: st.SearchStrategy[Expr] = st.recursive(NUMBERS, _branches, max_leaves=8)


def read_text(text: str) -> Expr | Task:
    """What a text asks, in symbols or in words."""
    return read_task(tokenize(text), least_first=False)


def numbers_of(problem: Problem) -> tuple[int, ...]:
    """The values of a function's arguments."""
    assert isinstance(problem.expr, Function)
    return tuple(map(evaluate, problem.expr.args))


def expert_script(
    prompt: Sequence[int],
    rng: np.random.Generator | None = None,
    mistake_rate: float = 0.0,
    thinking: bool = True,
) -> Script:
    """The expert's frame for a prompt, which is parsed."""
    task = read_task(prompt[1:-1], least_first=prompt[0] == SUBTASK)
    assert not isinstance(task, int)
    root = prompt if prompt[0] == PROBLEM else None
    return write_frame(task, root, rng, mistake_rate, thinking)
