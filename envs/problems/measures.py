"""What is measured of a problem: its numbers, their digits, its signs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from o1nano.envs.language.expression import Binary, Expr, Function, Task


def numbers_of(task: Task) -> list[int]:
    """Returns all numbers of a problem, in order.

    Args:
        task: The problem.
    """
    numbers: list[int] = []
    for expr in _expressions_of(task):
        _add_numbers(expr, numbers)
    return numbers


def _expressions_of(task: Task) -> tuple[Expr, ...]:
    """Returns the arguments of a function, or the one calculation: "-(2+3)" is more than its operands, 0 and 2+3."""
    return task.args if isinstance(task, Function) else (task,)


def _add_numbers(expr: Expr, numbers: list[int]) -> None:
    """Adds the numbers of an expression; the 0 of a sign before parentheses is none."""
    if isinstance(expr, int):
        numbers.append(expr)
        return
    if not expr.negation:
        _add_numbers(expr.left, numbers)
    _add_numbers(expr.right, numbers)


def most_digits(numbers: Iterable[int]) -> int:
    """Returns the digits of the longest number.

    Args:
        numbers: At least one number.
    """
    return max(len(str(abs(number))) for number in numbers)


def is_negative(task: Task) -> bool:
    """Returns True if a number of a problem is negative, or if a sign stands before parentheses.

    Args:
        task: The problem.
    """
    return any(map(_has_sign, _expressions_of(task)))


def _has_sign(expr: Expr) -> bool:
    """Returns True if a number in an expression is negative, or if a sign stands before parentheses."""
    if isinstance(expr, int):
        return expr < 0
    return expr.negation or _has_sign(expr.left) or _has_sign(expr.right)


def absolute(task: Task) -> Task:
    """Returns a problem without the signs of its numbers and parentheses. It may have no answer.

    Args:
        task: The problem.
    """
    if isinstance(task, Function):
        return replace(task, args=tuple(map(_without_signs, task.args)))
    plain = _without_signs(task)
    # "-(7)" is a number, so what is left of a problem is one.
    assert isinstance(plain, Binary)
    return plain


def _without_signs(expr: Expr) -> Expr:
    """Returns an expression without the signs of its numbers and parentheses."""
    if isinstance(expr, int):
        return abs(expr)
    if expr.negation:
        return _without_signs(expr.right)
    return replace(expr, left=_without_signs(expr.left), right=_without_signs(expr.right))
