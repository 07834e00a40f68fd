"""How problems are read, in symbols and in words.

Arithmetic is read by recursive descent, functions by the templates that say them: see ``envs/language/templates.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import PRECEDENCE, RULES, Binary, Expr, Function, Task
from o1nano.envs.language.templates import pieces, slot_index
from o1nano.envs.language.vocab import (
    ACCEPTED,
    CLOSE,
    COLON,
    COMMA,
    DIVIDE,
    ID,
    MINUS,
    OPEN,
    PLUS,
    TIMES,
    is_digit,
    spell,
    value_of,
)

# Between two commas: keeps numbers below Python's limit for converting text, and trees above its recursion limit.
MOST_TOKENS = 1000
MOST_PARENTHESES = 200  # keeps the recursive descent far from Python's recursion limit

_NOUNS = {ID["sum"]: PLUS, ID["difference"]: MINUS, ID["product"]: TIMES, ID["quotient"]: DIVIDE}
_INFIX = {ID["plus"]: PLUS, ID["minus"]: MINUS, ID["times"]: TIMES, ID["divided"]: DIVIDE}
_END = 0


def parse(tokens: Sequence[int], least_first: bool) -> Expr | Task:
    """Reads the tokens between the first one of a prompt and its ``=``.

    Args:
        tokens: Token ids of a problem, in symbols or in an accepted phrasing.
        least_first: Whether numbers are written least significant digit first, as in subtasks.

    Returns:
        The problem as it is written (parentheses kept, but for those around a whole argument).

    Raises:
        ProblemError: If the tokens are no problem.
    """
    tokens = list(tokens)
    longest = _longest_part(tokens)
    if longest > MOST_TOKENS:
        raise ProblemError(f"{longest} tokens without a comma among them; accepted: at most {MOST_TOKENS}")
    if tokens.count(OPEN) > MOST_PARENTHESES:
        raise ProblemError(f"{tokens.count(OPEN)} parentheses; accepted: at most {MOST_PARENTHESES} pairs")
    if least_first:
        if tokens and tokens[0] in RULES:
            return Function(tokens[0], _Parser(tokens, least_first).arguments("{op} {list}", tokens[0]))
        return _Parser(tokens, least_first).parse()
    return _parse_root(tokens)


def _longest_part(tokens: Sequence[int]) -> int:
    """Returns the length of the longest part between commas."""
    commas = [-1, *(index for index, token in enumerate(tokens) if token == COMMA), len(tokens)]
    return max(behind - before - 1 for before, behind in pairwise(commas))


def _parse_root(tokens: list[int]) -> Expr | Task:
    """Tries every template; if none fits, the attempt that got furthest tells where the text breaks off."""
    best = _Parser(tokens, least_first=False)
    try:
        return best.parse()
    except ProblemError as error:
        reason = error
    for op, rules in RULES.items():
        for template in rules.readings:
            parser = _Parser(tokens, least_first=False)
            try:
                return Function(op, parser.arguments(template, op))
            except ProblemError as error:
                if parser.at > best.at:
                    best, reason = parser, error
    raise reason


class _Parser:
    """Recursive descent with precedence climbing."""

    def __init__(self, tokens: list[int], least_first: bool) -> None:
        self.tokens, self.least_first, self.at = tokens, least_first, 0

    def parse(self) -> Expr:
        """Reads arithmetic."""
        if not self._skip("calculate"):
            self._skip("what", "is")
        expr = self._named() if self._skip("the") else self._sum(0)
        self._end()
        return expr

    def arguments(self, template: str, op: int) -> tuple[Expr, ...]:
        """Reads the arguments of a function that is asked for in a template."""
        single: dict[int, Expr] = {}
        others: list[Expr] = []
        for piece, floor in pieces(template):
            if piece == ID["?"]:
                break
            if piece == "list":
                others = self._list()
            elif piece == "pairs":
                others = self._pairs()
            elif isinstance(piece, str) and piece != "op":
                single[slot_index(piece)] = self._signed() if piece[0] == "+" else self._argument(floor)
            elif self._peek() == (op if piece == "op" else piece):
                self.at += 1
            else:
                raise self._error()
        self._end()
        return (*(single[index] for index in sorted(single)), *others)

    def _list(self) -> list[Expr]:
        args = [self._argument(0)]
        while self._peek() == COMMA:
            self.at += 1
            args.append(self._argument(0))
        return args

    def _pairs(self) -> list[Expr]:
        args: list[Expr] = []
        while not args or self._peek() == COMMA:
            self.at += bool(args)
            args.append(self._number())
            if self._peek() != COLON:
                raise self._error()
            self.at += 1
            args.append(self._number())
        return args

    def _argument(self, floor: int) -> Expr:
        arg = self._sum(floor)
        return arg if isinstance(arg, int) else replace(arg, parens=False)

    def _signed(self) -> int:
        sign = self._peek()
        if sign not in (PLUS, MINUS):
            raise self._error()
        self.at += 1
        return -self._number() if sign == MINUS else self._number()

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
        while (op := self._operator()) is not None and PRECEDENCE[op] > floor:
            self.at += 2 if self._peek() == ID["divided"] else 1
            left = Binary(op, left, self._sum(PRECEDENCE[op]))
        return left

    def _operator(self) -> int | None:
        token = self._peek()
        if token == ID["divided"] and self.tokens[self.at + 1 : self.at + 2] != [ID["by"]]:
            raise self._error()
        token = _INFIX.get(token, token)
        return token if token in PRECEDENCE else None

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
        return -self._number() if negative else self._number()

    def _number(self) -> int:
        start = self.at
        while self.at < len(self.tokens) and is_digit(self.tokens[self.at]):
            self.at += 1
        if start == self.at:
            raise self._error()
        return value_of(self.tokens[start : self.at], self.least_first)

    def _end(self) -> None:
        self._skip("?")
        if self.at < len(self.tokens):
            raise self._error()

    def _peek(self) -> int:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def _skip(self, *words: str) -> bool:
        ids = [ID[word] for word in words]
        found = self.tokens[self.at : self.at + len(ids)] == ids
        self.at += len(ids) * found
        return found

    def _error(self) -> ProblemError:
        where = f"at {spell(self.tokens[self.at : self.at + 1])!r}" if self.at < len(self.tokens) else "at its end"
        return ProblemError(f"not a problem: {spell(self.tokens)[:80]!r} breaks off {where}; accepted: {ACCEPTED}")
