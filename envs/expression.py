"""Arithmetic expressions: parsed from tokens, rendered to tokens, answered exactly.

An expression is an ``int`` or a ``Binary``. The same functions read root prompts (numbers as people write them, maybe
in words) and subtask prompts (numbers least significant digit first), so there is one grammar of problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from o1nano.envs.errors import ProblemError
from o1nano.envs.vocab import (
    ACCEPTED,
    CLOSE,
    DIVIDE,
    ID,
    MINUS,
    OPEN,
    PLUS,
    QUOTIENT_DIGIT,
    REMAINDER,
    TIMES,
    digits_of,
    is_digit,
    spell,
    value_of,
)


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and an operator token; ``parens`` tells whether it is written in parentheses."""

    op: int
    left: Expr
    right: Expr
    parens: bool = False


Expr = int | Binary

MOST_TOKENS = 1000  # keeps numbers below Python's limit for converting text, and trees above its recursion limit
MOST_PARENTHESES = 200  # keeps the recursive descent far from Python's recursion limit

_PRECEDENCE = {PLUS: 1, MINUS: 1, TIMES: 2, DIVIDE: 2, QUOTIENT_DIGIT: 2}
_NOUNS = {ID["sum"]: PLUS, ID["difference"]: MINUS, ID["product"]: TIMES, ID["quotient"]: DIVIDE}
_INFIX = {ID["plus"]: PLUS, ID["minus"]: MINUS, ID["times"]: TIMES, ID["divided"]: DIVIDE}


def parse(tokens: Sequence[int], least_first: bool) -> Expr:
    """Reads the tokens between the first one of a prompt and its ``=``.

    Args:
        tokens: Token ids of an expression, in symbols or in an accepted phrasing.
        least_first: Whether numbers are written least significant digit first, as in subtasks.

    Returns:
        The expression as it is written (parentheses kept).

    Raises:
        ProblemError: If the tokens are no expression.
    """
    if len(tokens) > MOST_TOKENS:
        raise ProblemError(f"a problem of {len(tokens)} tokens; accepted: at most {MOST_TOKENS}")
    if list(tokens).count(OPEN) > MOST_PARENTHESES:
        raise ProblemError(f"{list(tokens).count(OPEN)} parentheses; accepted: at most {MOST_PARENTHESES} pairs")
    return _Parser(list(tokens), least_first).parse()


class _Parser:
    """Recursive descent with precedence climbing."""

    def __init__(self, tokens: list[int], least_first: bool) -> None:
        self.tokens, self.least_first, self.at = tokens, least_first, 0

    def parse(self) -> Expr:
        if not self._skip("calculate"):
            self._skip("what", "is")
        expr = self._named() if self._skip("the") else self._sum(0)
        self._skip("?")
        if self.at < len(self.tokens):
            raise self._error()
        return expr

    def _named(self) -> Expr:
        """``the sum of A and B``, ``the difference between A and B``."""
        op = _NOUNS.get(self._peek())
        if op is None:
            raise self._error()
        self.at += 1
        if not (self._skip("of") or self._skip("between")):
            raise self._error()
        left = self._operand()
        if not self._skip("and"):
            raise self._error()
        return Binary(op, left, self._operand())

    def _sum(self, floor: int) -> Expr:
        left = self._operand()
        while (op := self._operator()) is not None and _PRECEDENCE[op] > floor:
            self.at += 2 if self._peek() == ID["divided"] else 1
            left = Binary(op, left, self._sum(_PRECEDENCE[op]))
        return left

    def _operator(self) -> int | None:
        token = self._peek()
        if token == ID["divided"] and self.tokens[self.at + 1 : self.at + 2] != [ID["by"]]:
            raise self._error()
        token = _INFIX.get(token, token)
        return token if token in _PRECEDENCE else None

    def _operand(self) -> Expr:
        if self._peek() == OPEN:
            self.at += 1
            inner = self._sum(0)
            if self._peek() != CLOSE:
                raise self._error()
            self.at += 1
            return inner if isinstance(inner, int) else Binary(inner.op, inner.left, inner.right, parens=True)
        negative = self._peek() == MINUS
        self.at += negative
        start = self.at
        while self.at < len(self.tokens) and is_digit(self.tokens[self.at]):
            self.at += 1
        if start == self.at:
            raise self._error()
        value = value_of(self.tokens[start : self.at], self.least_first)
        return -value if negative else value

    def _peek(self) -> int:
        return self.tokens[self.at] if self.at < len(self.tokens) else 0

    def _skip(self, *words: str) -> bool:
        ids = [ID[word] for word in words]
        found = self.tokens[self.at : self.at + len(ids)] == ids
        self.at += len(ids) * found
        return found

    def _error(self) -> ProblemError:
        where = f"at {spell(self.tokens[self.at : self.at + 1])!r}" if self.at < len(self.tokens) else "at its end"
        return ProblemError(f"not a problem: {spell(self.tokens)[:80]!r} breaks off {where}; accepted: {ACCEPTED}")


def render(expr: Expr, least_first: bool) -> list[int]:
    """Writes an expression as tokens, with the parentheses it was written with."""
    if isinstance(expr, int):
        return [MINUS] * (expr < 0) + digits_of(abs(expr), least_first)
    inner = [*render(expr.left, least_first), expr.op, *render(expr.right, least_first)]
    return [OPEN, *inner, CLOSE] if expr.parens else inner


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


def answer(expr: Expr, least_first: bool) -> list[int]:
    """Returns the tokens of the exact answer.

    A single division of two numbers is answered by quotient and remainder; a remainder of 0 is left out at the root
    (``least_first`` false) and written in subtasks, whose answers have one form.
    """
    if isinstance(expr, Binary) and expr.op in (DIVIDE, QUOTIENT_DIGIT):
        quotient, remainder = _divide(expr)
        tokens = render(quotient, least_first)
        if least_first or remainder:
            tokens += [REMAINDER, *digits_of(remainder, least_first)]
        return tokens
    return render(evaluate(expr), least_first)


def _divide(expr: Binary) -> tuple[int, int]:
    left, right = evaluate(expr.left), evaluate(expr.right)
    value = apply(expr.op, left, right)
    assert isinstance(value, tuple)
    if value[1] and not (isinstance(expr.left, int) and isinstance(expr.right, int)):
        raise ProblemError(f"{left}/{right} has a remainder; inside an expression only exact divisions are accepted")
    return value


def canonical(expr: Expr) -> str:
    """Returns a key that problems share when they differ in the order of operands or in parentheses only."""
    if isinstance(expr, int):
        return str(expr)
    left, right = sorted((canonical(expr.left), canonical(expr.right)))
    return f"({left} {expr.op} {right})"
