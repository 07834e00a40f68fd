"""Templates: how a family's problems are said and read.

A template is written as words and signs of the vocabulary and slots in braces:

* ``{a}``, ``{b}``, ... the first argument or operand, the second, and so on;
* ``{+b}`` an argument that is a number, written with its sign: ``+ 4``, ``- 4``;
* ``{list}`` all other arguments, with commas between them;
* ``{listed}`` the same, as people say it: ``3 , 14 and 15``;
* ``{b=2}``, ``{b=a}`` an argument that is not said: it is 2, or the same as the first one: ``{a} squared {b=a}``;
* ``{pairs}`` all other arguments as ``3 : 1 4 , 1 5 : 9``;
* ``{op}`` the function's token;
* ``{expr}`` the whole expression. It is only said: arithmetic in symbols is read by ``reader``.

Every part of a template can say itself (write its tokens for a task) and read itself (take arguments from tokens).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from o1nano.envs.language.expression import PRECEDENCE, Binary, Expr, Function, Task, render, render_list
from o1nano.envs.language.reader import Reader
from o1nano.envs.language.vocab import COLON, COMMA, ID, MINUS, PLUS, digits_of

# An expression in a slot needs parentheses, unless the precedence of its operator exceeds these numbers of the words
# before and after the slot. Example: in "{a} mod {b}", "1 * 2 mod 7" is read as a product modulo 7, and a sum needs
# parentheses; in the second slot, every expression does.
_FLOOR_AFTER = {"mod": 2, "modulo": 2, "by": 2}
_FLOOR_BEFORE = {"mod": 1, "modulo": 1, "*": 2, "x": 2, "{+b}": 1, "+": 1, "divided": 2, "multiplied": 2}


@dataclass
class Reading:
    """Arguments that the slots of a template have read so far.

    Attributes:
        op: Token of the function whose template it is.
        single: Arguments of slots such as ``{a}``, by their index.
        rest: Arguments of ``{list}`` or ``{pairs}``.
    """

    op: int
    single: dict[int, Expr] = field(default_factory=dict)
    rest: list[Expr] = field(default_factory=list)

    @property
    def args(self) -> tuple[Expr, ...]:
        """All arguments in order."""
        # Slots can stand in any order: "subtract {b} from {a}".
        first = [self.single[index] for index in sorted(self.single)]
        return (*first, *self.rest)


class Part(ABC):
    """A word or a slot of a template."""

    @abstractmethod
    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the tokens of this part of a problem.

        Args:
            task: The problem.
            args: Its arguments, or its two operands.
            singles: The number of slots of the template that hold one argument each.
        """

    @abstractmethod
    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads this part of a problem.

        Args:
            reader: The tokens.
            reading: Receives the arguments.
        """


@dataclass(frozen=True)
class Word(Part):
    """A word or sign of the vocabulary."""

    token: int

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the word."""
        return [self.token]

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads the word."""
        reader.expect(self.token)


class Operator(Part):
    """``{op}``: the function's token."""

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the token."""
        return [task.op]

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads the token."""
        reader.expect(reading.op)


@dataclass(frozen=True)
class Argument(Part):
    """``{a}``: one argument.

    Attributes:
        index: Which one.
        floor: Precedence that an operator must exceed to stand here without parentheses.
    """

    index: int
    floor: int

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the argument, in parentheses where it would not be read back without them."""
        arg = args[self.index]
        if not isinstance(arg, int):
            arg = replace(arg, parens=PRECEDENCE[arg.op] <= self.floor)
        return render(arg, least_first=False)

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads an expression."""
        reading.single[self.index] = reader.argument(self.floor)


@dataclass(frozen=True)
class SignedNumber(Part):
    """``{+b}``: one argument, a number with its sign.

    Attributes:
        index: Which one.
    """

    index: int

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns sign and digits."""
        # The sign is always said, so that "3x {+b}" reads as "3x + 4" or "3x - 4".
        number = args[self.index]
        assert isinstance(number, int)
        sign = MINUS if number < 0 else PLUS
        return [sign, *digits_of(abs(number), least_first=False)]

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads sign and digits."""
        reading.single[self.index] = reader.signed_number()


class ArgumentList(Part):
    """``{list}``: all other arguments, with commas between them."""

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the arguments that no other slot holds."""
        return render_list(args[singles:], least_first=False)

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads arguments until no comma follows."""
        reading.rest = reader.arguments()


class SpokenList(Part):
    """``{listed}``: all other arguments, with an "and" before the last one."""

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the arguments that no other slot holds; at least two."""
        # 3, 14 and 15: no comma before the "and".
        others = args[singles:]
        last = render(others[-1], least_first=False)
        return [*render_list(others[:-1], least_first=False), ID["and"], *last]

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads arguments until neither a comma nor an "and" follows; at least two."""
        reading.rest = reader.spoken_arguments()


@dataclass(frozen=True)
class Implied(Part):
    """``{b=2}`` or ``{b=a}``: an argument that the words of the template stand for.

    Attributes:
        index: Which one.
        value: Its value; None if it equals another argument.
        same_as: Index of the argument that it equals.
    """

    index: int
    value: int | None = None
    same_as: int = 0

    def of(self, args: Sequence[Expr]) -> Expr:
        """Returns what the argument is when the others are known.

        Args:
            args: All arguments; the one of this slot makes no difference.
        """
        return args[self.same_as] if self.value is None else self.value

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns nothing."""
        return []

    def read(self, reader: Reader, reading: Reading) -> None:
        """Takes the value from the template, or from the argument that was read before."""
        if self.value is not None:
            reading.single[self.index] = self.value
            return

        # "the square of {a}": the argument must have been read by now, so its slot stands before this one.
        same = reading.single[self.same_as]
        if not isinstance(same, int):
            raise reader.no_square()
        reading.single[self.index] = same


class ArgumentPairs(Part):
    """``{pairs}``: all other arguments, as keys and values."""

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the arguments that no other slot holds, two and two."""
        return render_list(args[singles:], least_first=False, separators=(COLON, COMMA))

    def read(self, reader: Reader, reading: Reading) -> None:
        """Reads pairs until no comma follows."""
        reading.rest = reader.pairs()


class WholeExpression(Part):
    """``{expr}``: a whole expression."""

    def say(self, task: Task, args: tuple[Expr, ...], singles: int) -> Iterable[int]:
        """Returns the expression as it is written in symbols."""
        return render(task, least_first=False)

    def read(self, reader: Reader, reading: Reading) -> None:
        """Raises an error: templates of functions have no such slot."""
        raise reader.error()


_QUESTION_MARK = Word(ID["?"])
_SLOTS: dict[str, Part] = {
    "{op}": Operator(),
    "{list}": ArgumentList(),
    "{listed}": SpokenList(),
    "{pairs}": ArgumentPairs(),
    "{expr}": WholeExpression(),
}


@cache
def parts(template: str) -> tuple[Part, ...]:
    """Returns the words and slots of a template.

    Args:
        template: A template as the module describes it.
    """
    words = template.split()

    # The words beside a slot decide which expressions can stand in it without parentheses.
    found = []
    for index, word in enumerate(words):
        before = words[index - 1] if index > 0 else ""
        after = words[index + 1] if index + 1 < len(words) else ""
        floor = max(_FLOOR_AFTER.get(before, 0), _FLOOR_BEFORE.get(after, 0))
        found.append(_part(word, floor))
    return tuple(found)


def _part(word: str, floor: int) -> Part:
    """Returns a word or slot of a template."""
    if word in _SLOTS:
        return _SLOTS[word]
    if word[0] != "{":
        return Word(ID[word])

    # "{a}", "{+a}" and "{a=1}" hold the argument with index 0.
    name, _, implied = word.strip("{}").partition("=")
    index = _index(name[-1])
    if implied:
        return Implied(index, int(implied)) if implied.isdecimal() else Implied(index, same_as=_index(implied))
    return SignedNumber(index) if name[0] == "+" else Argument(index, floor)


def _index(letter: str) -> int:
    """Returns which argument a letter stands for: 0 for a."""
    return ord(letter) - ord("a")


@cache
def _count_singles(template: str) -> int:
    """Counts the slots that hold one argument each."""
    return sum(isinstance(part, (Argument, SignedNumber, Implied)) for part in parts(template))


@cache
def implied(template: str) -> tuple[Implied, ...]:
    """Returns the slots of a template whose arguments are not said.

    Args:
        template: A template as the module describes it.
    """
    return tuple(part for part in parts(template) if isinstance(part, Implied))


def may_begin(template: str, op: int, token: int) -> bool:
    """Returns True unless a template begins with a word other than a given one.

    Args:
        template: A template.
        op: Token of the function or operator.
        token: The first token of a problem.
    """
    # A slot may begin with anything. This only spares an attempt to read, so True is always safe.
    first = parts(template)[0]
    if isinstance(first, Word):
        return first.token == token
    return not isinstance(first, Operator) or op == token


def say(template: str, task: Task) -> list[int]:
    """Writes a problem as a template says it, numbers most significant digit first.

    Args:
        template: One of the family's templates that fits the problem: see ``fitting``.
        task: The problem.
    """
    # The first arguments have slots of their own; a list takes what is left.
    args = arguments_of(task)
    singles = _count_singles(template)
    tokens: list[int] = []
    for part in parts(template):
        tokens += part.say(task, args, singles)
    return tokens


def arguments_of(task: Task) -> tuple[Expr, ...]:
    """Returns the arguments of a function, or the operands of arithmetic, which are "{a}" and "{b}".

    Args:
        task: The problem.
    """
    return task.args if isinstance(task, Function) else (task.left, task.right)


def read_template(template: str, op: int, reader: Reader) -> Task:
    """Reads a function, or an operation on two operands, that is asked for in a template.

    Args:
        template: One of the templates of the function or operation.
        op: Token of the function or operator.
        reader: The tokens. After an error, its position shows how far the template was followed.

    Raises:
        ProblemError: If the tokens are not the template with arguments in its slots.
    """
    found = read_function(template, op, reader)
    if op not in PRECEDENCE:
        return found
    # "Multiply 2+3 by 4" is (2+3)*4.
    left, right = (arg if isinstance(arg, int) else replace(arg, parens=True) for arg in found.args)
    return Binary(op, left, right)


def read_function(template: str, op: int, reader: Reader) -> Function:
    """Reads a function that is asked for in a template.

    Args:
        template: One of the function's templates.
        op: Token of the function.
        reader: The tokens. After an error, its position shows how far the template was followed.

    Raises:
        ProblemError: If the tokens are not the template with arguments in its slots.
    """
    reading = Reading(op)
    for part in parts(template):
        # A question mark at the end may be left out.
        if part == _QUESTION_MARK:
            break
        part.read(reader, reading)
    reader.end()
    return Function(op, reading.args)


@cache
def fitting(templates: tuple[str, ...], arguments: int) -> tuple[str, ...]:
    """Returns the templates that have a place for every argument.

    Args:
        templates: A family's templates.
        arguments: The number of arguments, or 2 for the operands of arithmetic.
    """
    return tuple(template for template in templates if _fits(template, arguments))


def _fits(template: str, arguments: int) -> bool:
    """Returns True if a template has a place for every argument."""
    if "{expr}" in template:
        return True
    others = arguments - _count_singles(template)
    # "Add 3 and 14" is a sum of two numbers, not of a list.
    if "{listed}" in template:
        return others > (2 if _count_singles(template) == 0 else 1)
    return others > 0 if "{list}" in template or "{pairs}" in template else others == 0
