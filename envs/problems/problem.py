"""Posing problems: from a level and a generator, or from a user's text, to a prompt with its exact answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Binary, Function, Task, accepts, answer, canonical, evaluate
from o1nano.envs.language.parser import parse
from o1nano.envs.language.templates import fitting, say
from o1nano.envs.language.vocab import ACCEPTED, EQUALS, PROBLEM, SUBTASK, answer_text, problem_text, tokenize
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

    def accepts(self, given: bytes) -> bool:
        """Tells whether a visible answer is exactly right: the verifier of roots."""
        if isinstance(self.expr, Function):
            return given == self.answer or accepts(self.expr, given, least_first=False)
        return given == self.answer

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

    Raises:
        TokenizationError: If a word has no token.
        ProblemError: If it is no problem, or one whose answer the format cannot express.
    """
    return posed((PROBLEM, *tokenize(text), EQUALS))


def posed(prompt: Sequence[int], level: Level | None = None) -> Problem:
    """Returns the problem that a root prompt asks.

    Raises:
        ProblemError: If it asks nothing that has an answer.
    """
    expr = parse(prompt[1:-1], least_first=False)
    if isinstance(expr, int):
        raise ProblemError(f"nothing to compute in {problem_text(prompt[1:-1])[:80]!r}; accepted: {ACCEPTED}")
    return Problem(tuple(prompt), expr, bytes(answer(expr, least_first=False)), level)


def draw(level: Level, rng: np.random.Generator, split: Split = "train", phrasing: Phrasing = "mixed") -> Problem:
    """Draws a problem of a level from one side of the split.

    Raises:
        ConfigurationError: If the level has no problem on that side.
    """
    family = FAMILIES[level.family]
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


def stream(*key: object) -> np.random.Generator:
    """Returns a generator derived by hashing a key such as (split, family, size, seed), never by adding to a seed."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@lru_cache(maxsize=1 << 16)
def frame_task(prompt: bytes) -> Task | None:
    """Returns what any frame's own prompt asks, or None if that is nothing to compute."""
    try:
        task = parse(prompt[1:-1], least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None
    return None if isinstance(task, int) else task


@lru_cache(maxsize=1 << 16)
def frame_answer(prompt: bytes) -> bytes | None:
    """Returns an exact answer to any frame's own prompt, or None if the prompt asks nothing that has one.

    It is the only right one unless the family of the problem accepts several: ``frame_accepts`` judges.
    """
    task = frame_task(prompt)
    try:
        return None if task is None else bytes(answer(task, least_first=prompt[0] == SUBTASK))
    except ProblemError:
        return None


@lru_cache(maxsize=1 << 16)
def frame_accepts(prompt: bytes, given: bytes) -> bool | None:
    """Tells whether an answer to a frame's own prompt is exactly right; None if the prompt asks nothing that has one.

    This is the verifier of subtasks: a child frame is a problem of its own.
    """
    task = frame_task(prompt)
    try:
        return None if task is None else accepts(task, given, least_first=prompt[0] == SUBTASK)
    except ProblemError:
        return None


@lru_cache(maxsize=1 << 16)
def is_sensible(asker: bytes, question: bytes) -> bool:
    """Tells whether a question is of a kind that the frame which asks it has a use for.

    A root hands on its own problem, or one with the same answer. Others, and roots that work on a long problem, ask
    problems of the families that their own names in ``asks``.
    """
    own, asked = frame_task(asker), frame_task(question)
    if own is None or asked is None:
        return own is None  # who was asked nonsense cannot be told from sense
    family = family_of(own)
    if asker[0] == PROBLEM and not family.long:
        return frame_answer(question) == bytes(answer(own, least_first=True))
    asks = family.asks
    return asks is None or family_of(asked).name in asks


def is_reduction(prompt: bytes, handed_on: bytes) -> bool:
    """Tells whether a problem that a frame hands on is smaller than its own and has the same answer.

    Smaller means fewer tokens; of two functions also as many tokens and a smaller last number, as in Euclid's
    algorithm. Without an order that ends, handing a problem to and fro would be a right solution for ever.
    """
    expected = frame_answer(prompt)
    if expected is None or frame_answer(handed_on) != expected or len(handed_on) > len(prompt):
        return False
    old, new = frame_task(prompt), frame_task(handed_on)
    if len(handed_on) == len(prompt) and isinstance(old, Function) and isinstance(new, Function):
        return evaluate(new.args[-1]) < evaluate(old.args[-1])
    return len(handed_on) < len(prompt)


def check_family(name: str) -> str:
    """Returns a family's name.

    Raises:
        ConfigurationError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ConfigurationError(f"operation {name!r}; accepted: {', '.join(FAMILIES)}")
    return name


def check_choice(name: str, value: str, kind: object) -> None:
    """Raises ``ConfigurationError`` unless a value is one of a Literal's."""
    if value not in get_args(kind):
        raise ConfigurationError(f"{name}={value!r}; accepted: {', '.join(map(repr, get_args(kind)))}")


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
