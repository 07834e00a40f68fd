"""Reads arithmetic from tokens, by recursive descent with precedence climbing.

A ``Reader`` is a position in the tokens of a problem and methods that read the next part of it. Templates of functions
use these methods too: see ``templates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import PRECEDENCE, Binary, Expr
from o1nano.envs.language.vocab import (
    CLOSE,
    COLON,
    COMMA,
    DIVIDE,
    EXAMPLES,
    ID,
    MINUS,
    OPEN,
    PLUS,
    TIMES,
    is_digit,
    spell,
    value_of,
)

# Words before what is asked for: "what is 1 + 2", "tell me the sum of 1 and 2". Longer ones come first.
_OPENINGS = (
    *(("tell", "me", "what", "is"), ("how", "much", "is"), ("tell", "me"), ("give", "me"), ("work", "out")),
    *(
        ("what", "is"),
        ("what", "does"),
        ("what's",),
        ("calculate",),
        ("compute",),
        ("evaluate",),
        ("find",),
        ("solve",),
    ),
)
# Words after what is asked for.
_ENDINGS = (("equals", "what"), ("equals",), ("equal",))
_LAST_WORDS = tuple(ID[word] for word in ("equals", "equal", "what", "please", "?"))
_NOUNS = {ID["sum"]: PLUS, ID["difference"]: MINUS, ID["product"]: TIMES, ID["quotient"]: DIVIDE}
_INFIX = {
    **{ID["plus"]: PLUS, ID["minus"]: MINUS, ID["times"]: TIMES, ID["x"]: TIMES},
    # These two have "by" after them.
    **{ID["multiplied"]: TIMES, ID["divided"]: DIVIDE},
}
_BEFORE_BY = (ID["multiplied"], ID["divided"])
_SIGNS = (MINUS, ID["minus"], ID["negative"])
_SQUARED = (ID["^2"], ID["squared"])
# Returned by ``Reader.peek`` after the last token. It is the id of padding, which no problem contains.
_END = 0


def without_frame(tokens: Sequence[int]) -> list[int]:
    """Returns a problem without the words before and after what is asked for: ``1 + 2`` for ``how much is 1 + 2 ?``.

    Args:
        tokens: Token ids of a problem.
    """
    reader = Reader(tokens, least_first=False)
    reader.opening()
    left = reader.tokens[reader.position :]
    # "Equals what, please?" has several of these.
    while left and left[-1] in _LAST_WORDS:
        left.pop()
    return left


class Reader:
    """A position in the tokens of a problem. Each method reads one part of it and moves on.

    Args:
        tokens: Token ids of a problem, without ``<problem>`` and ``=``.
        least_first: Whether numbers are written least significant digit first, as in subtasks.

    Attributes:
        position: Index of the next token.
    """

    def __init__(self, tokens: Sequence[int], least_first: bool) -> None:
        self.tokens = list(tokens)
        self.least_first = least_first
        self.position = 0

    def problem(self) -> Expr:
        """Reads arithmetic from the first token to the last: ``what is 1 + 2 ?``, ``the sum of 1 and 2``."""
        self.opening()
        first = self.peek()
        is_named = self.skip("the") or first in _NOUNS
        expr = self._named() if is_named else self.expression()
        self.end()
        # "7 squared" is 7*7; in parentheses it is only as a part of something.
        if isinstance(expr, Binary) and expr.parens and first != OPEN:
            return replace(expr, parens=False)
        return expr

    def opening(self) -> bool:
        """Moves past the words before what is asked for, if there are any: ``please``, ``how much is``.

        Returns:
            Whether there were any.
        """
        found = self.skip("please")
        for words in _OPENINGS:
            if self.skip(*words):
                found = True
                break
        # "The result of 1 + 2" is what "1 + 2" is.
        return self.skip("the", "result", "of") or found

    def expression(self, floor: int = 0) -> Expr:
        """Reads operands and operators.

        Args:
            floor: Precedence that an operator must exceed to belong to the expression. ``1 * 2 + 3`` is read up to the
                ``+`` if it is 1.
        """
        left = self._operand()
        while True:
            op = self._operator()
            if op is None or PRECEDENCE[op] <= floor:
                return left

            # "divided by" has two tokens.
            is_x = self.peek() == ID["x"]
            self.position += 2 if self.peek() in _BEFORE_BY else 1
            # "3x-4" is half of an equation, not 3 times -4.
            if is_x and self.peek() in _SIGNS:
                raise self.error()
            left = Binary(op, left, self.expression(PRECEDENCE[op]))

    def argument(self, floor: int = 0) -> Expr:
        """Reads an argument of a function: an expression, without the parentheses around the whole of it.

        Args:
            floor: See ``expression``: the precedence that an operator must exceed.
        """
        arg = self.expression(floor)
        return arg if isinstance(arg, int) else replace(arg, parens=False)

    def arguments(self) -> list[Expr]:
        """Reads arguments with commas between them, at least one."""
        args = [self.argument()]
        while self.peek() == COMMA:
            self.position += 1
            args.append(self.argument())
        return args

    def spoken_arguments(self) -> list[Expr]:
        """Reads numbers as people list them, at least two: ``3 , 14 and 15``.

        A calculation among them needs parentheses: "the largest of 1 and 2 plus 3" may be 3 or 5.
        """
        args = [self._operand()]
        while self.peek() == COMMA:
            self.position += 1
            # "3, 14, and 15" has both.
            if self.peek() == ID["and"]:
                break
            args.append(self._operand())
        if self.skip("and"):
            args.append(self._operand())
        if len(args) < 2:
            raise self.error()
        return [arg if isinstance(arg, int) else replace(arg, parens=False) for arg in args]

    def pairs(self) -> list[Expr]:
        """Reads pairs of numbers, at least one: ``3 : 1 4 , 1 5 : 9`` gives 3, 14, 15, 9."""
        numbers: list[Expr] = []
        while True:
            numbers.append(self.number())
            self.expect(COLON)
            numbers.append(self.number())
            if self.peek() != COMMA:
                return numbers
            self.position += 1

    def signed_number(self) -> int:
        """Reads a number with a sign in front: ``+ 4`` or ``- 4``."""
        sign = self.peek()
        if sign not in (PLUS, MINUS):
            raise self.error()
        self.position += 1
        number = self.number()
        return -number if sign == MINUS else number

    def number(self) -> int:
        """Reads digits, at least one."""
        start = self.position
        while is_digit(self.peek()):
            self.position += 1
        if self.position == start:
            raise self.error()
        return value_of(self.tokens[start : self.position], self.least_first)

    def expect(self, token: int) -> None:
        """Reads one given token.

        Args:
            token: The token that must come next.
        """
        if self.peek() != token:
            raise self.error()
        self.position += 1

    def skip(self, *words: str) -> bool:
        """Moves past some words if they come next.

        Args:
            words: The words, all of which must come next.

        Returns:
            Whether they did.
        """
        ids = [ID[word] for word in words]
        found = self.tokens[self.position : self.position + len(ids)] == ids
        if found:
            self.position += len(ids)
        return found

    def end(self) -> None:
        """Raises an error unless nothing is left but the end of a question: ``equals ?``, ``please``."""
        # "1+2 = ?" asks what "1+2" asks. The last "=" of "1+2=" is the prompt's own.
        for words in _ENDINGS:
            if self.skip(*words):
                break
        if self.skip("please"):
            self.skip("?")
        elif self.skip("?"):
            self.skip("please")
        if self.position < len(self.tokens):
            raise self.error()

    def peek(self) -> int:
        """Returns the next token without moving; 0 after the last one."""
        return self.tokens[self.position] if self.position < len(self.tokens) else _END

    def error(self) -> ProblemError:
        """Returns the error that shows where the tokens stop being a problem."""
        at_end = self.position >= len(self.tokens)
        where = "at its end" if at_end else f"at {spell([self.peek()])!r}"
        shown = repr(spell(self.tokens)[:80])
        return ProblemError(f"not a problem: {shown} breaks off {where}; expected, for example, {EXAMPLES}")

    def no_square(self) -> ProblemError:
        """Returns the error for the square of anything but a number."""
        shown = repr(spell(self.tokens)[:80])
        return ProblemError(f"the square of a calculation in {shown}; expected the square of a number")

    def _named(self) -> Expr:
        """Reads the rest of ``the sum of A and B`` or ``the difference between A and B``."""
        op = _NOUNS.get(self.peek())
        if op is None:
            raise self.error()
        self.position += 1

        # People say "the sum of" and "the difference between"; either is read after every noun.
        if not (self.skip("of") or self.skip("between")):
            raise self.error()

        left = self._operand()
        self.expect(ID["and"])
        return Binary(op, left, self._operand())

    def _operator(self) -> int | None:
        """Returns the operator that comes next, in symbols or in words, without moving."""
        token = self.peek()
        if token in _BEFORE_BY:
            # Without "by" it is not an operator.
            following = self.tokens[self.position + 1 : self.position + 2]
            if following != [ID["by"]]:
                raise self.error()
        op = _INFIX.get(token, token)
        return op if op in PRECEDENCE else None

    def _operand(self) -> Expr:
        """Reads a number or an expression in parentheses; a sign may stand before it, or its square be asked for."""
        if self.peek() in _SIGNS:
            self.position += 1
            return self._negated()

        if self.peek() == OPEN:
            self.position += 1
            inner = self.expression()
            self.expect(CLOSE)
            # Parentheses around a number are dropped: "((7))" is 7.
            operand = inner if isinstance(inner, int) else replace(inner, parens=True)
        else:
            operand = self.number()
        return self._squared(operand)

    def _squared(self, operand: Expr) -> Expr:
        """Reads what follows an operand if it is ``squared`` or ``^2``. Only numbers have squares."""
        if self.peek() not in _SQUARED:
            return operand
        if not isinstance(operand, int):
            raise self.no_square()
        self.position += 1
        # "100/5^2" divides by the square as a whole.
        return Binary(TIMES, operand, operand, parens=True)

    def _negated(self) -> Expr:
        """Reads a number or parentheses after a sign."""
        if self.peek() == OPEN:
            self.position += 1
            inner = self.expression()
            self.expect(CLOSE)
            negated = -inner if isinstance(inner, int) else Binary(MINUS, 0, replace(inner, parens=True), negation=True)
        else:
            negated = -self.number()
        # "-7^2" is -49 for some people and 49 for others.
        if self.peek() in _SQUARED:
            raise ProblemError(f"a sign before a square in {spell(self.tokens)[:80]!r}; expected (-7)^2 or 0-7^2")
        return negated
