"""Posing problems: from a level and a generator, or from a user's text, to a prompt with its exact answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError, TokenizationError
from o1nano.envs.language.expression import Binary, Function, Task, accepts, answer, canonical
from o1nano.envs.language.parser import parse
from o1nano.envs.language.templates import fitting, say
from o1nano.envs.language.vocab import (
    ACCEPTED,
    EQUALS,
    PROBLEM,
    answer_text,
    problem_text,
    tokenize,
    tokenize_answer,
    without_leading_zeros,
)
from o1nano.envs.problems import FAMILIES, family_of
from o1nano.envs.problems.family import below

Split = Literal["train", "test", "all"]
Phrasing = Literal["symbolic", "words", "mixed"]

TEST_SHARE = 5  # one canonical problem in so many belongs to the test split


@dataclass(frozen=True, slots=True)
class Level:
    """A kind of problem: what a curriculum chooses among.

    Attributes:
        family: A key of ``FAMILIES``.
        size: Digits of the longest operand, or what the family says in its ``sample``.
        other: Digits of the second operand, the number of operands of an expression or a list, or the length of the
            frame that a long problem fills; None draws it.
    """

    family: str
    size: int
    other: int | None = None

    def __str__(self) -> str:
        return f"{self.family}/{self.size}" + (f"x{self.other}" if self.other is not None else "")


@dataclass(frozen=True)
class Problem:
    """A posed problem.

    Attributes:
        prompt: ``<problem> ... =`` as token ids.
        expr: What is asked.
        answer: A visible answer that is right, as token bytes: the only one, unless the family accepts several.
        level: The level it was drawn from; None for a user's own.
    """

    prompt: tuple[int, ...]
    expr: Task
    answer: bytes
    level: Level | None = None

    def accepts(self, given: bytes | str) -> bool:
        """Returns True if a visible answer is exactly right. This is the verifier of roots.

        Args:
            given: The answer as token bytes, or as text in the form that ``answer_text`` writes. A text that is no
                answer is not right.

        Raises:
            ProblemError: If it is neither.
        """
        if isinstance(given, str):
            try:
                given = bytes(tokenize_answer(given))
            except TokenizationError:
                return False
        elif not isinstance(given, bytes):
            raise ProblemError(f"an answer of type {type(given).__name__}; expected token bytes, or a text as '143'")
        if isinstance(self.expr, Function):
            return given == self.answer or accepts(self.expr, given, least_first=False)
        return given == self.answer

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles the prompt: to copy a formula of hundreds of operands would recurse too deep."""
        return posed, (self.prompt, self.level)

    @cached_property
    def text(self) -> str:
        """The problem as people write it; every episode reports it twice."""
        return problem_text(self.prompt[1:-1])

    @property
    def answer_text(self) -> str:
        """The right answer as people write it."""
        return answer_text(self.answer)


def read(text: str) -> Problem:
    """Reads a user's problem.

    Args:
        text: In symbols or in words. Leading zeros of numbers are dropped.

    Raises:
        TokenizationError: If a word has no token.
        ProblemError: If it is no problem, or one whose answer the format cannot express.
    """
    return posed((PROBLEM, *tokenize(without_leading_zeros(text)), EQUALS))


def posed(prompt: Sequence[int], level: Level | None = None) -> Problem:
    """Returns the problem that a root prompt asks.

    Raises:
        ProblemError: If it asks nothing that has an answer.
    """
    expr = parse(prompt[1:-1], least_first=False)
    if isinstance(expr, int):
        raise ProblemError(f"nothing to compute in {problem_text(prompt[1:-1])[:80]!r}; accepted: {ACCEPTED}")
    return Problem(tuple(prompt), expr, bytes(answer(expr, least_first=False)), level)


def read_level(text: str) -> Level:
    """Reads a level as tables and flags write it: ``family/size`` or ``family/sizexother``.

    Args:
        text: Such as ``addition/3`` or ``expression/1x3``.

    Raises:
        ConfigurationError: If it is no level, or of no family.
    """
    found = re.fullmatch(r"(\w{1,40})/([1-9]\d{0,2})(?:x([1-9]\d{0,5}))?", text, re.ASCII)
    if found is None:
        raise ConfigurationError(f"level {text[:40]!r}; accepted: FAMILY/SIZE or FAMILY/SIZExOTHER, as expression/1x3")
    family, size, other = found.groups()
    return Level(check_family(family), int(size), int(other) if other else None)


def draw(level: Level | str, rng: np.random.Generator, split: Split = "train", phrasing: Phrasing = "mixed") -> Problem:
    """Draws a problem of a level from one side of the split.

    Args:
        level: The level, or its text: see ``read_level``.
        rng: Source of all randomness.
        split: The side: ``"train"``, ``"test"``, or ``"all"`` for both.
        phrasing: ``"symbolic"``, ``"words"``, or ``"mixed"`` for either with the same probability.

    Raises:
        ConfigurationError: If it is no level, or has no problem on that side.
    """
    if not isinstance(level, Level):
        level = read_level(str(level))
    family = FAMILIES[check_family(level.family)]
    for _ in range(10_000):
        expr = family.sample(rng, level.size, level.other)
        if split == "all" or split_of(expr) == split:
            break
    else:
        raise ConfigurationError(f"level {level} has no problem in split={split!r}; accepted: a larger size")
    worded = phrasing == "words" or (phrasing == "mixed" and rng.random() < 0.5)
    template = _choose(expr, family.phrasings, rng) if worded else family.symbolic
    tokens = say(template, expr)
    return Problem((PROBLEM, *tokens, EQUALS), expr, bytes(answer(expr, least_first=False)), level)


def _choose(expr: Task, phrasings: tuple[str, ...], rng: np.random.Generator) -> str:
    possible = fitting(phrasings, len(expr.args) if isinstance(expr, Function) else 2)
    return possible[below(rng, len(possible))]


def split_of(expr: Task) -> Split:
    """Returns the side of a problem: a hash of its content, so commuted operands and other phrasings share it."""
    digest = hashlib.blake2b(canonical(expr).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_SHARE == 0 else "train"


def check_family(name: str) -> str:
    """Returns a family's name.

    Raises:
        ConfigurationError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ConfigurationError(f"operation {name!r}; accepted: {', '.join(FAMILIES)}")
    return name


def fits_frame(problem: Problem, frame_length: int) -> Problem:
    """Returns a problem that leaves room in a frame.

    Raises:
        ProblemError: If it does not.
    """
    if len(problem.prompt) >= frame_length:
        raise ProblemError(f"a problem of {len(problem.prompt)} tokens; accepted: fewer than {frame_length}")
    return problem


def from_expression(expr: Binary) -> Problem:
    """Returns the problem that asks for one operation on two numbers.

    Raises:
        ProblemError: If it has no answer, such as a division by zero.
    """
    tokens = say(family_of(expr).symbolic, expr)
    return Problem((PROBLEM, *tokens, EQUALS), expr, bytes(answer(expr, least_first=False)))


def sizes(families: Sequence[str], digits: tuple[int, int], other: int | None = None) -> list[Level]:
    """Returns the levels of some families from the smallest to the largest size, both included.

    Args:
        families: Keys of ``FAMILIES``.
        digits: Smallest and largest size.
        other: See ``Level.other``.
    """
    return [Level(family, size, other) for family in families for size in range(digits[0], digits[1] + 1)]
