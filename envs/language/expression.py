"""What a problem asks: arithmetic on numbers, or a function of them; rendered to tokens, answered exactly.

A task is a ``Binary`` or a ``Function``. What a function computes is the business of its family, which enters itself in
``RULES``; how problems are read and said is that of ``parser`` and ``templates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.vocab import (
    CLOSE,
    COMMA,
    DIVIDE,
    MINUS,
    OPEN,
    PLUS,
    QUOTIENT_DIGIT,
    REMAINDER,
    TIMES,
    TOKENS,
    digits_of,
)


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and an operator token; ``parens`` tells whether it is written in parentheses."""

    op: int
    left: Expr
    right: Expr
    parens: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function token applied to arguments; a subtask writes it ``gcd 8 4 , 6 3``."""

    op: int
    args: tuple[Expr, ...]


Expr = int | Binary
Task = Binary | Function
PRECEDENCE = {PLUS: 1, MINUS: 1, TIMES: 2, DIVIDE: 2, QUOTIENT_DIGIT: 2}


class Rules(Protocol):
    """What the family of a function knows about it: see ``FunctionFamily``."""

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of the ways to ask for it."""

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless the function has a value for these numbers."""

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the exact answer."""

    def accepts(self, numbers: tuple[int, ...], given: bytes, least_first: bool) -> bool:
        """Tells whether an answer is exactly right."""

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Orders the keys of arguments so that problems of the same content share them."""


RULES: dict[int, Rules] = {}
"""The rules of every function token that has a family: see ``register_family``."""


def render(expr: Expr | Task, least_first: bool) -> list[int]:
    """Writes an expression or a function as tokens, with the parentheses it was written with."""
    if isinstance(expr, int):
        return [MINUS] * (expr < 0) + digits_of(abs(expr), least_first)
    if isinstance(expr, Function):
        return [expr.op, *listed(expr.args, least_first)]
    inner = [*render(expr.left, least_first), expr.op, *render(expr.right, least_first)]
    return [OPEN, *inner, CLOSE] if expr.parens else inner


def listed(args: Sequence[Expr], least_first: bool, separators: Sequence[int] = (COMMA,)) -> list[int]:
    """Writes arguments with commas between them, or with some separators in turn."""
    tokens: list[int] = []
    for index, arg in enumerate(args):
        tokens += [separators[(index - 1) % len(separators)]] * bool(index)
        tokens += render(arg, least_first)
    return tokens


def apply(op: int, left: int, right: int) -> int | tuple[int, int]:
    """Applies one operator; ``/`` and ``\\`` give quotient and remainder.

    Raises:
        ProblemError: On a division by zero, or one of negative numbers that leaves a remainder.
    """
    if op == PLUS:
        return left + right
    if op == MINUS:
        return left - right
    if op == TIMES:
        return left * right
    if right == 0:
        raise ProblemError(f"{left}/{right} divides by zero; accepted: a divisor other than 0")
    if left >= 0 and right > 0:
        return divmod(left, right)
    if left % right:
        raise ProblemError(f"{left}/{right} has a remainder; with negative numbers only exact divisions are accepted")
    return left // right, 0


def evaluate(expr: Expr) -> int:
    """Returns the exact value of an expression.

    Raises:
        ProblemError: If a division inside it is not exact.
    """
    if isinstance(expr, int):
        return expr
    left, right = evaluate(expr.left), evaluate(expr.right)
    value = apply(expr.op, left, right)
    if isinstance(value, int):
        return value
    if value[1]:
        raise ProblemError(f"{left}/{right} has a remainder; inside an expression only exact divisions are accepted")
    return value[0]


def answer(expr: Expr | Task, least_first: bool) -> list[int]:
    """Returns the tokens of the exact answer (of one of them, where a function has several).

    A single division of two numbers is answered by quotient and remainder; a remainder of 0 is left out at the root
    (``least_first`` false) and written in subtasks, whose answers have one form.

    Raises:
        ProblemError: If there is none.
    """
    if isinstance(expr, Function):
        rules, numbers = _ask(expr)
        return rules.answer(numbers, least_first)
    if isinstance(expr, Binary) and expr.op in (DIVIDE, QUOTIENT_DIGIT):
        quotient, remainder = _divide(expr)
        tokens = render(quotient, least_first)
        if least_first or remainder:
            tokens += [REMAINDER, *digits_of(remainder, least_first)]
        return tokens
    return render(evaluate(expr), least_first)


def accepts(task: Task, given: bytes, least_first: bool) -> bool:
    """Tells whether an answer, as token bytes, is exactly right. This is the verifier.

    Raises:
        ProblemError: If the task has no answer.
    """
    if isinstance(task, Function):
        rules, numbers = _ask(task)
        return rules.accepts(numbers, given, least_first)
    return given == bytes(answer(task, least_first))


def _ask(task: Function) -> tuple[Rules, tuple[int, ...]]:
    rules = RULES.get(task.op)
    if rules is None:
        accepted = ", ".join(TOKENS[op] for op in RULES)
        raise ProblemError(f"function {TOKENS[task.op]!r} has no family; accepted: {accepted}")
    numbers = tuple(evaluate(arg) for arg in task.args)
    rules.check(numbers)
    return rules, numbers


def _divide(expr: Binary) -> tuple[int, int]:
    left, right = evaluate(expr.left), evaluate(expr.right)
    value = apply(expr.op, left, right)
    assert isinstance(value, tuple)
    if value[1] and not (isinstance(expr.left, int) and isinstance(expr.right, int)):
        raise ProblemError(f"{left}/{right} has a remainder; inside an expression only exact divisions are accepted")
    return value


def canonical(expr: Expr | Task) -> str:
    """Returns a key that problems share when they differ in the order of operands or in parentheses only."""
    if isinstance(expr, int):
        return str(expr)
    if isinstance(expr, Function):
        return f"{expr.op}[{' '.join(RULES[expr.op].canonical([canonical(arg) for arg in expr.args]))}]"
    left, right = sorted((canonical(expr.left), canonical(expr.right)))
    return f"({left} {expr.op} {right})"
