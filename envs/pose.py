"""Posing problems: from a level and a generator, or from a user's text, to a prompt with its exact answer."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.expression import Binary, answer, canonical, parse, render
from o1nano.envs.problems import FAMILIES
from o1nano.envs.vocab import ACCEPTED, EQUALS, ID, PROBLEM, SUBTASK, answer_text, spell, tokenize

Split = Literal["train", "test", "all"]
Phrasing = Literal["symbolic", "words", "mixed"]

TEST_SHARE = 5  # one canonical problem in so many belongs to the test split


@dataclass(frozen=True, slots=True)
class Level:
    """A kind of problem: what a curriculum chooses among.

    Attributes:
        family: A key of ``FAMILIES``.
        size: Digits of the longer operand (for expressions: of the longest).
        other: Digits of the second operand, or the number of operands of an expression; None draws it.
    """

    family: str
    size: int
    other: int | None = None

    def __str__(self) -> str:
        return f"{self.family}/{self.size}" + (f"x{self.other}" if self.other is not None else "")


@dataclass(frozen=True, slots=True)
class Problem:
    """A posed problem.

    Attributes:
        prompt: ``<problem> ... =`` as token ids.
        expr: What is asked.
        answer: The only visible answer that is right, as token bytes.
        level: The level it was drawn from; None for a user's own.
    """

    prompt: tuple[int, ...]
    expr: Binary
    answer: bytes
    level: Level | None = None

    @property
    def text(self) -> str:
        """The problem as people write it."""
        if not self.is_worded:
            return answer_text(self.prompt[1:-1])
        return re.sub(r"(?<=\d) (?=\d)", "", spell(self.prompt[1:-1]))

    @property
    def answer_text(self) -> str:
        """The right answer as people write it."""
        return answer_text(self.answer)

    @property
    def is_worded(self) -> bool:
        """Whether the prompt has words in it."""
        return max(self.prompt) >= ID["calculate"]


def read(text: str) -> Problem:
    """Reads a user's problem.

    Raises:
        TokenizationError: If a word has no token.
        ProblemError: If it is no problem, or one whose answer the format cannot express.
    """
    tokens = tokenize(text)
    expr = parse(tokens, least_first=False)
    if isinstance(expr, int):
        raise ProblemError(f"nothing to compute in {text.strip()!r}; accepted: {ACCEPTED}")
    return Problem((PROBLEM, *tokens, EQUALS), expr, bytes(answer(expr, least_first=False)))


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
    tokens = _in_words(expr, family.phrasings, rng) if worded else render(expr, least_first=False)
    return Problem((PROBLEM, *tokens, EQUALS), expr, bytes(answer(expr, least_first=False)), level)


def _in_words(expr: Binary, phrasings: tuple[str, ...], rng: np.random.Generator) -> list[int]:
    parts = {"{a}": expr.left, "{b}": expr.right, "{expr}": expr}
    tokens: list[int] = []
    for word in phrasings[int(rng.integers(len(phrasings)))].split():
        tokens += render(parts[word], least_first=False) if word in parts else [ID[word]]
    return tokens


def split_of(expr: Binary) -> Split:
    """Returns the side of a problem: a hash of its content, so commuted operands and other phrasings share it."""
    digest = hashlib.blake2b(canonical(expr).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_SHARE == 0 else "train"


def stream(*key: object) -> np.random.Generator:
    """Returns a generator derived by hashing a key such as (split, family, size, seed), never by adding to a seed."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@lru_cache(maxsize=1 << 16)
def frame_answer(prompt: bytes) -> bytes | None:
    """Returns the exact answer to any frame's own prompt, or None if the prompt asks nothing that has one.

    This is the verifier of subtasks: a child frame is a problem of its own.
    """
    try:
        expr = parse(prompt[1:-1], least_first=prompt[0] == SUBTASK)
        if isinstance(expr, int):
            return None
        return bytes(answer(expr, least_first=prompt[0] == SUBTASK))
    except ProblemError:
        return None


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
