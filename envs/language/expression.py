"""What a problem asks: arithmetic on numbers, or a function of them.

A task is a ``Binary`` or a ``Function``. This module renders tasks to tokens and computes arithmetic exactly. What a
function computes is known to its family: see ``problems.registry``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.vocab import (
    CLOSE,
    COMMA,
    DIVIDE,
    MINUS,
    OPEN,
    PLUS,
    QUOTIENT_DIGIT,
    TIMES,
    digits_of,
)


@dataclass(frozen=True, slots=True)
class Binary:
    """An operation on two operands.

    Attributes:
        op: Token of the operator.
        left: Left operand.
        right: Right operand.
        parens: Whether the operation is written in parentheses.
        negation: Whether the operation is written as a sign in front of its right operand, as in ``-(1+2)``. It is a
            difference whose left operand is 0 then.
    """

    op: int
    left: Expr
    right: Expr
    parens: bool = False
    negation: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function of some arguments; a subtask writes it ``gcd 8 4 , 6 3``.

    Attributes:
        op: Token of the function.
        args: The arguments.
    """

    op: int
    args: tuple[Expr, ...]


Expr = int | Binary
Task = Binary | Function
PRECEDENCE = {PLUS: 1, MINUS: 1, TIMES: 2, DIVIDE: 2, QUOTIENT_DIGIT: 2}


def render(expr: Expr | Task, least_first: bool) -> list[int]:
    """Writes an expression or a function as tokens, with the parentheses it was written with.

    Args:
        expr: A number, arithmetic, or a function.
        least_first: Whether numbers are written least significant digit first, as in subtasks.
    """
    if isinstance(expr, int):
        sign = [MINUS] if expr < 0 else []
        return sign + digits_of(abs(expr), least_first)
    if isinstance(expr, Function):
        return [expr.op, *render_list(expr.args, least_first)]

    # The 0 of a negation is not written.
    left = [] if expr.negation else render(expr.left, least_first)
    inner = [*left, expr.op, *render(expr.right, least_first)]
    return [OPEN, *inner, CLOSE] if expr.parens else inner


def render_list(args: Sequence[Expr], least_first: bool, separators: Sequence[int] = (COMMA,)) -> list[int]:
    """Writes arguments with separators between them.

    Args:
        args: The arguments.
        least_first: Whether numbers are written least significant digit first.
        separators: Tokens to write between arguments, used in turn: ``:`` and ``,`` give ``3 : 1 4 , 5 : 9``.
    """
    tokens: list[int] = []
    for index, arg in enumerate(args):
        if index > 0:
            # The first separator stands before the argument with index 1.
            tokens.append(separators[(index - 1) % len(separators)])
        tokens += render(arg, least_first)
    return tokens


def apply(op: int, left: int, right: int) -> int | tuple[int, int]:
    """Applies an operator to two numbers.

    Args:
        op: Token of the operator.
        left: Left operand.
        right: Right operand.

    Returns:
        The value; for ``/`` and ``\\`` quotient and remainder: -4 and 1 for -7/2, since -7 = -4*2 + 1.

    Raises:
        ProblemError: If the divisor is 0.
    """
    if op == PLUS:
        return left + right
    if op == MINUS:
        return left - right
    if op == TIMES:
        return left * right

    # Only divisions are left.
    if right == 0:
        raise ProblemError(f"{left}/{right} divides by zero; expected a divisor other than 0")
    # Of negative numbers as Python has it: the quotient is rounded down, and the remainder has the divisor's sign.
    return divmod(left, right)


def evaluate(expr: Expr) -> int:
    """Returns the exact value of an expression.

    Args:
        expr: A number or arithmetic.

    Raises:
        ProblemError: If a division in it is not exact.
    """
    if isinstance(expr, int):
        return expr
    left = evaluate(expr.left)
    right = evaluate(expr.right)

    value = apply(expr.op, left, right)
    if isinstance(value, int):
        return value

    # A division: its value is the quotient, provided that nothing is left over.
    quotient, remainder = value
    if remainder:
        raise inexact(left, right)
    return quotient


def divide(expr: Binary) -> tuple[int, int]:
    """Returns quotient and remainder of a division. Only a division of two numbers may have a remainder.

    Args:
        expr: An operation with ``/`` or ``\\``.

    Raises:
        ProblemError: If the divisor is 0, or if the division is part of an expression and is not exact.
    """
    left = evaluate(expr.left)
    right = evaluate(expr.right)
    value = apply(expr.op, left, right)
    assert isinstance(value, tuple)

    # "17/5" is answered by 3 R 2, but "17/5+1" and "(10+7)/5" are not problems.
    of_numbers = isinstance(expr.left, int) and isinstance(expr.right, int)
    if value[1] and not of_numbers:
        raise inexact(left, right)
    return value


def inexact(left: int, right: int) -> ProblemError:
    """Returns the error for a division with a remainder inside an expression.

    Args:
        left: The dividend.
        right: The divisor.
    """
    return ProblemError(f"{left}/{right} has a remainder; expected exact divisions inside an expression")


def canonical_arithmetic(expr: Expr) -> str:
    """Returns a key that all rearrangements of an expression share.

    The key ignores the order of terms and factors, the parentheses around a sum in a sum or a product in a product, and
    the place of a minus sign: ``1+7-2``, ``7-(2-1)`` and ``1-2+7`` share a key, and so do ``-5+3`` and ``3-5``.

    A difference or quotient shares the key of its reverse. It follows that the key also ignores which terms of a sum
    are subtracted and which factors of a product are divisors.

    Args:
        expr: A number or arithmetic.
    """
    return str(expr) if isinstance(expr, int) else _unsigned_key(expr)[0]


def _unsigned_key(expr: Expr) -> tuple[str, bool]:
    """Returns the key of an expression without its sign, and whether there is a minus sign in it.

    The sign is reported apart because it may stand elsewhere in a rearrangement: ``-5*3`` is ``5*-3``.
    """
    if isinstance(expr, int):
        return str(abs(expr)), expr < 0
    # "-(a*b)" is a product with a sign; "-(a+b)" is taken apart like any other sum.
    if expr.negation and not _is_sum(expr.right):
        return _unsigned_key(expr.right)[0], True

    if isinstance(expr.left, int) and isinstance(expr.right, int):
        # Most problems are of two numbers: there is nothing to take apart.
        keys = [str(abs(expr.left)), str(abs(expr.right))]
        operators = {expr.op}
        signed = expr.op == MINUS or expr.left < 0 or expr.right < 0
    else:
        operands, operators = _flatten(expr)
        signed = MINUS in operators

        keys = []
        for operand in operands:
            key, negative = _unsigned_key(operand)
            keys.append(key)
            signed = signed or negative
    # The order of operands makes no difference.
    keys.sort()

    op = expr.op
    if op in (PLUS, MINUS):
        op = MINUS if signed else PLUS
    elif len(operators) > 1:
        # A product with a division somewhere in it: "8*6/2" and "6/2*8" share a key.
        op = DIVIDE
    return f"({f' {op} '.join(keys)})", signed


def _is_sum(expr: Expr) -> bool:
    """Returns True if the last operation of an expression is a sum or a difference."""
    return isinstance(expr, Binary) and PRECEDENCE[expr.op] == PRECEDENCE[PLUS]


def _flatten(expr: Binary) -> tuple[list[Expr], set[int]]:
    """Takes a sum of sums, or a product of products, apart.

    Returns:
        Its operands, and the operators between them: 1, 7, 2 and ``+``, ``-`` for ``(1+7)-2``.
    """
    precedence = PRECEDENCE[expr.op]
    operators = {expr.op}
    operands: list[Expr] = []

    # A stack of parts instead of recursion: a chain of hundreds of operands is as deep as it is long.
    waiting = [expr.right] if expr.negation else [expr.left, expr.right]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Binary) and PRECEDENCE[part.op] == precedence:
            operators.add(part.op)
            # The 0 of a negation is no operand: "-(1+2)" and "-1-2" share a key.
            waiting += (part.right,) if part.negation else (part.left, part.right)
        else:
            operands.append(part)
    return operands, operators


def has_negation(expr: Expr) -> bool:
    """Returns True if there is a sign before parentheses in an expression, as in ``3*-(1+2)``.

    Args:
        expr: A number or arithmetic.
    """
    if isinstance(expr, int):
        return False
    return expr.negation or has_negation(expr.left) or has_negation(expr.right)
