"""Problems: drawn from a level with a generator, or read from a user's text, as a prompt with its exact answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError, TokenizationError
from o1nano.envs.language.everyday import vary_frame, vary_lists, vary_sentence, vary_signs, vary_squares
from o1nano.envs.language.expression import Binary, Function, Task
from o1nano.envs.language.templates import arguments_of, fitting, implied, say
from o1nano.envs.language.vocab import (
    EQUALS,
    EXAMPLES,
    PROBLEM,
    X,
    answer_text,
    problem_text,
    tokenize,
    tokenize_answer,
    without_leading_zeros,
)
from o1nano.envs.problems.draws import below
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.measures import numbers_of
from o1nano.envs.problems.registry import (
    FAMILIES,
    canonical,
    check_family,
    expected_answer,
    family_of,
    is_right,
    owner_of,
    read_task,
)

Split = Literal["train", "test", "all"]
Phrasing = Literal["symbolic", "words", "mixed", "everyday"]

TEST_SHARE = 5
"""One canonical problem in this number belongs to the test split."""
# A number with its digits in groups of three, and separators that nobody mistakes for those of digits.
_THOUSANDS = re.compile(r"(?<![0-9,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?!,?[0-9])")
_OTHER_SEPARATORS = re.compile(r",\s|\b(?:and|or)\b", re.IGNORECASE)
# Shares of symbols and of formal phrasings among everyday ones.
_SYMBOLIC = 0.35
_FORMAL = 0.15
# Share of words such as "half of", or an equation without its factor 1, among everyday phrasings.
_SHORTENED = 0.25
# Share of operations on calculations that are said in words: "multiply 2+3 by 4".
_SAID_OPERATION = 0.25
# Most numbers in these.
_MOST_SAID = 4
# Templates in which a sign before the number has two meanings.
_AFTER_A_SIGN = ("{a} squared {b=a}", "{a} ^2 {b=a}")
# Draws after which a level is taken to have no problem on a side of the split.
_MAX_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Level:
    """A kind of problem. Curricula choose among levels.

    Attributes:
        family: Name of the family, a key of ``FAMILIES``.
        size: By default the digits of the longer operand; see ``sample`` of the family.
        extra: The family's second parameter, with the meaning of its ``extra_name``; None draws it.
    """

    family: str
    size: int
    extra: int | None = None

    def __str__(self) -> str:
        """Returns the text form: ``addition/3``, or ``expression/1x3`` with a second parameter."""
        extra = "" if self.extra is None else f"x{self.extra}"
        return f"{self.family}/{self.size}{extra}"


@dataclass(frozen=True)
class Problem:
    """A problem as an episode poses it.

    Attributes:
        prompt: ``<problem> ... =`` as token ids.
        expr: What the prompt asks.
        answer: A right visible answer as token bytes; the only one unless the family accepts several.
        level: The level it was drawn from; None for a user's own problem.
    """

    prompt: tuple[int, ...]
    expr: Task
    answer: bytes
    level: Level | None = None

    def accepts(self, given: bytes | str) -> bool:
        """Returns True if a visible answer is exactly right. This is the verifier of roots.

        Args:
            given: The answer as token bytes, or as text in the form that ``answer_text`` writes. A text that cannot be
                an answer is not right.

        Raises:
            ProblemError: If it is neither bytes nor text.
        """
        if isinstance(given, str):
            try:
                given = bytes(tokenize_answer(given))
            except TokenizationError:
                return False
        # A list of token ids would be compared with bytes, and would always be wrong.
        elif not isinstance(given, bytes):
            raise ProblemError(f"an answer of type {type(given).__name__}; expected token bytes, or a text as '143'")

        if given == self.answer:
            return True
        # Only functions have several right answers.
        return isinstance(self.expr, Function) and is_right(self.expr, given, least_first=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles the prompt alone: a formula of hundreds of operands would be copied too recursively."""
        return problem_from_prompt, (self.prompt, self.level)

    @cached_property
    def text(self) -> str:
        """The problem as people write it. It is cached, because every episode reports it twice."""
        return problem_text(self.prompt[1:-1])

    @property
    def answer_text(self) -> str:
        """The right answer as people write it."""
        return answer_text(self.answer)


def read(text: str) -> Problem:
    """Reads a user's problem.

    In ``1,234+5`` the comma belongs to a number, in ``gcd(48,360)`` it separates two. Where both can be read, as in
    ``max(1,234)``, it separates, unless the text has other separators: ``the sum of 1,234 and 5``.

    Args:
        text: A problem in symbols or in words. Leading zeros of numbers are dropped.

    Raises:
        TokenizationError: If a word has no token.
        ProblemError: If it is not a problem, or has no answer in this format.
    """
    joined = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    if joined == text:
        return _read(text)
    first, second = (joined, text) if _OTHER_SEPARATORS.search(text) else (text, joined)
    try:
        return _read(first)
    except (TokenizationError, ProblemError):
        return _read(second)


def _read(text: str) -> Problem:
    """Reads a problem in which every comma separates numbers."""
    tokens = tokenize(without_leading_zeros(text))
    return problem_from_prompt((PROBLEM, *tokens, EQUALS))


def problem_from_prompt(prompt: Sequence[int], level: Level | None = None) -> Problem:
    """Returns the problem that a root prompt asks.

    Args:
        prompt: ``<problem> ... =`` as token ids.
        level: The level it was drawn from.

    Raises:
        ProblemError: If it asks nothing that has an answer.
    """
    task = read_task(prompt[1:-1], least_first=False)
    if isinstance(task, int):
        shown = repr(problem_text(prompt[1:-1])[:80])
        raise ProblemError(f"nothing to compute in {shown}; expected, for example, {EXAMPLES}")
    answer = bytes(expected_answer(task, least_first=False))
    return Problem(tuple(prompt), task, answer, level)


def read_level(text: str) -> Level:
    """Reads a level as tables and flags write it: ``family/size`` or ``family/sizexextra``.

    Args:
        text: For example ``addition/3`` or ``expression/1x3``.

    Raises:
        ConfigurationError: If it is not a level, or if there is no such family.
    """
    # Sizes have up to 3 digits, second parameters up to 6: a frame may have 128,000 tokens.
    found = re.fullmatch(r"(\w{1,40})/([1-9]\d{0,2})(?:x([1-9]\d{0,5}))?", text, re.ASCII)
    if found is None:
        raise ConfigurationError(f"level {text[:40]!r}; expected FAMILY/SIZE or FAMILY/SIZExEXTRA, as expression/1x3")
    family, size, extra = found.groups()
    return Level(check_family(family), int(size), int(extra) if extra else None)


def draw(level: Level | str, rng: np.random.Generator, split: Split = "train", phrasing: Phrasing = "mixed") -> Problem:
    """Draws a problem of a level from one side of the split.

    Args:
        level: The level, or its text, such as ``"addition/3"``: see ``read_level``.
        rng: Source of all randomness.
        split: The side: ``"train"``, ``"test"``, or ``"all"`` for both.
        phrasing: ``"symbolic"``, ``"words"``, ``"mixed"`` for either with the same probability, or ``"everyday"`` for
            all ways to write a problem that are read: see ``language.everyday``.

    Raises:
        ConfigurationError: If there is no such level, or if it has no problem on that side.
    """
    if not isinstance(level, Level):
        level = read_level(str(level))
    family = FAMILIES[check_family(level.family)]

    if phrasing == "everyday":
        return _draw_everyday(level, rng, split)
    task = _draw_task(level, rng, split)

    # Of the phrasings, only those with a place for every argument: "which is larger, {a} or {b}?" has two.
    template = family.symbolic
    if phrasing == "words" or (phrasing == "mixed" and rng.random() < 0.5):
        arguments = len(task.args) if isinstance(task, Function) else 2
        templates = fitting(family.phrasings, arguments)
        template = templates[below(rng, len(templates))]
    return _say(template, task, level)


def _draw_task(level: Level, rng: np.random.Generator, split: Split) -> Task:
    """Draws until a problem is on the right side of the split."""
    family = FAMILIES[level.family]
    for _ in range(_MAX_DRAWS):
        task: Task = family.sample(rng, level.size, level.extra)
        if split == "all" or split_of(task) == split:
            return task
    raise ConfigurationError(f"level {level} has no problem in split={split!r}; expected a larger size")


def _draw_everyday(level: Level, rng: np.random.Generator, split: Split) -> Problem:
    """Draws a problem and an everyday way to write it.

    Words such as "half" set an operand. So the words come first, and then it is known which side the problem is on.
    """
    for _ in range(_MAX_DRAWS):
        family = FAMILIES[level.family]
        # With a second parameter, the level says which numbers are drawn.
        is_free = level.extra is None
        task: Task = family.sample_everyday(rng, level.size) if is_free else family.sample(rng, level.size, level.extra)
        # "Multiply 2+3 by 4" has the words of products.
        if _may_be_said(task) and rng.random() < _SAID_OPERATION:
            family = owner_of(task.op)
            task = _in_parentheses(task)
            template = _operation_template(family, rng)
        else:
            template = _everyday_template(family, task, rng)
        slots = implied(template)
        if slots:
            args = arguments_of(task)
            task = family.imply(task, {slot.index: cast(int, slot.of(args)) for slot in slots})
            if not is_free or not _is_of_family(task, FAMILIES[level.family], template):
                continue
        if split == "all" or split_of(task) == split:
            is_sentence = template in (*family.phrasings, *family.orders)
            return _say_everyday(template, task, level, is_sentence, rng)
    raise ConfigurationError(f"level {level} has no problem in split={split!r}; expected a larger size")


def _everyday_template(family: Family[Any], task: Task, rng: np.random.Generator) -> str:
    """Draws a template: symbols, a formal phrasing, or an everyday one, if there is one that fits."""
    # "-(2+3)" has one operand, and no words for it.
    if isinstance(task, Binary) and task.negation:
        return Family.symbolic
    drawn = rng.random()
    if drawn < _SYMBOLIC:
        return family.symbolic

    count = len(arguments_of(task))
    templates = fitting((*family.nouns, *family.orders), count)
    if drawn < _SYMBOLIC + _FORMAL or not templates:
        templates = fitting(family.phrasings, count)
    elif rng.random() < _SHORTENED:
        # Words that stand for a number are drawn as often in every family, whatever the number of other templates.
        templates = tuple(filter(implied, templates)) or templates
    return templates[below(rng, len(templates))]


def _is_of_family(task: Task, family: Family[Any], template: str) -> bool:
    """Returns True if a problem with an implied number is one of a family, and is read in the words of a template.

    "Double -8" is a signed product. "Double 8" is not, even if it was -3*8, and "-8 squared" has two meanings.
    """
    if family is family.origin:
        return True
    first = arguments_of(task)[0]
    is_ambiguous = isinstance(first, int) and first < 0 and template in _AFTER_A_SIGN
    return family.size_of(task) is not None and not is_ambiguous


def _operation_template(family: Family[Any], rng: np.random.Generator) -> str:
    """Draws an everyday template of an operation on two operands, both of which are said."""
    templates = [template for template in family.readings if not implied(template)]
    return templates[below(rng, len(templates))]


def _may_be_said(task: Task) -> bool:
    """Returns True for an operation on few numbers and calculations, none of which has a sign before the whole."""
    if not isinstance(task, Binary) or task.negation or len(numbers_of(task)) > _MOST_SAID:
        return False
    calculations = [operand for operand in (task.left, task.right) if isinstance(operand, Binary)]
    return bool(calculations) and not any(operand.negation for operand in calculations)


def _in_parentheses(task: Task) -> Binary:
    """Returns an operation whose calculations are in parentheses: what is multiplied by 4 in "multiply 2+3 by 4"."""
    assert isinstance(task, Binary)
    left = task.left if isinstance(task.left, int) else replace(task.left, parens=True)
    right = task.right if isinstance(task.right, int) else replace(task.right, parens=True)
    return replace(task, left=left, right=right)


def _say_everyday(template: str, task: Task, level: Level, is_sentence: bool, rng: np.random.Generator) -> Problem:
    """Returns the problem that asks for a task in a template's words, with variations."""
    tokens = say(template, task)
    if X not in tokens:
        tokens = vary_signs(vary_squares(vary_lists(tokens, rng), rng), rng)
    tokens = vary_sentence(tokens, rng) if is_sentence else vary_frame(tokens, rng)
    prompt = (PROBLEM, *tokens, EQUALS)
    return Problem(prompt, task, bytes(expected_answer(task, least_first=False)), level)


def _say(template: str, task: Task, level: Level | None = None) -> Problem:
    """Returns the problem that asks for a task in a template's words."""
    prompt = (PROBLEM, *say(template, task), EQUALS)
    answer = bytes(expected_answer(task, least_first=False))
    return Problem(prompt, task, answer, level)


def split_of(task: Task) -> Split:
    """Returns the side of a problem. It is a hash of its content, so all rearrangements and phrasings share it.

    Args:
        task: The problem.
    """
    # Four bytes of a hash are uniform enough for one part in five, and the same on every machine.
    digest = hashlib.blake2b(canonical(task).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_SHARE == 0 else "train"


def fits_frame(problem: Problem, frame_length: int) -> Problem:
    """Returns a problem whose prompt leaves room in a frame.

    Args:
        problem: The problem to check.
        frame_length: Tokens of a frame.

    Raises:
        ProblemError: If it leaves no room.
    """
    if len(problem.prompt) >= frame_length:
        raise ProblemError(f"a problem of {len(problem.prompt)} tokens; expected fewer than {frame_length}")
    return problem


def from_expression(expr: Binary) -> Problem:
    """Returns the problem that asks for one operation in symbols.

    Args:
        expr: An operation on two numbers.

    Raises:
        ProblemError: If it has no answer, such as a division by zero.
    """
    return _say(family_of(expr).symbolic, expr)


def sizes(families: Sequence[str], digits: tuple[int, int], extra: int | None = None) -> list[Level]:
    """Returns levels of some families.

    Args:
        families: Names of the families, keys of ``FAMILIES``.
        digits: The smallest and the largest size.
        extra: The second parameter of all of them: see ``Level``.
    """
    levels = []
    for family in families:
        for size in range(digits[0], digits[1] + 1):
            levels.append(Level(family, size, extra))
    return levels
