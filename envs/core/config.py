"""Configuration of an environment: which problems, which limits, which grammar."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError, require_choice
from o1nano.envs.problems import FAMILIES, FOUR_OPERATIONS
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.problem import Level, Phrasing, Split, check_family, sizes

MAX_DIGITS = 1000
"""Keeps numbers below Python's limit for converting text."""


@dataclass(frozen=True)
class Limits:
    """What one answer may cost.

    Attributes:
        frame_length: Tokens in one frame, prompt and injected answers included; also the length of an observation.
        depth: Frames open at the same time, the root included.
        tokens: Tokens emitted for one root problem, over all its frames.
    """

    frame_length: int = 128
    depth: int = 32
    tokens: int = 4096

    def __post_init__(self) -> None:
        for name, least in (("frame_length", 8), ("depth", 1), ("tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; accepted: an integer of at least {least}")


def _families(operations: Any) -> tuple[str, ...]:
    """Returns families in an order that does not depend on the process: that of a set does."""
    if isinstance(operations, str) or not isinstance(operations, Iterable):
        raise ConfigurationError(f"operations={operations!r}; expected a list of families, such as ('addition',)")
    names = tuple(operations)
    if not names:
        raise ConfigurationError(f"operations={operations!r}; expected at least one family")
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"operation {name!r}; expected the name of a family, such as 'addition'")
        check_family(name)
    return tuple(sorted(names)) if isinstance(operations, (set, frozenset)) else names


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) >= least


def require_whole(name: str, value: Any, least: int) -> int:
    """Returns an integer argument.

    Args:
        name: The argument, for the error.
        value: What was given.
        least: The smallest value that is accepted.

    Raises:
        ConfigurationError: If it is not an integer, or less.
    """
    if not _is_whole(value, least):
        raise ConfigurationError(f"{name}={value!r}; expected an integer of at least {least}")
    return int(value)


@dataclass(frozen=True)
class EnvConfig:
    """Keyword arguments of the environments.

    Attributes:
        operations: Families of problems, drawn uniformly. A set is sorted, so that the same seed poses the same
            problems in every process.
        digits: One size, or the smallest and the largest; a size is the number of digits of the longer operand.
        other_digits: Digits of the second operand (for expressions and lists: how many there are); None draws them.
            Long problems: the length of the frame that they fill; None: ``frame_length``.
        phrasing: ``"symbolic"`` (``98+45``), ``"words"`` (``What is 98 plus 45?``) or ``"mixed"``.
        thinking: Whether hidden reasoning is legal.
        call_stack: Whether calls and tail calls open frames; without it one frame holds everything: see ``Grammar``.
        frame_length: See ``Limits``.
        depth: See ``Limits``.
        max_tokens: ``Limits.tokens``.
        split: ``"train"``, ``"test"`` or ``"all"``, by a hash of the problem's content.
    """

    operations: Sequence[str] = FOUR_OPERATIONS
    digits: int | tuple[int, int] = (1, 3)
    other_digits: int | None = None
    phrasing: Phrasing = "mixed"
    thinking: bool = True
    call_stack: bool = True
    frame_length: int = 128
    depth: int = 32
    max_tokens: int = 4096
    split: Split = "train"

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", _families(self.operations))
        pair = self.digits if isinstance(self.digits, Sequence) else (self.digits, self.digits)
        if len(pair) != 2 or not (_is_whole(pair[0], 1) and _is_whole(pair[1], pair[0]) and pair[1] <= MAX_DIGITS):
            raise ConfigurationError(
                f"digits={self.digits!r}; accepted: an integer, or (low, high) with 1 <= low <= high <= {MAX_DIGITS}"
            )
        if self.other_digits is not None:
            require_whole("other_digits", self.other_digits, 1)
        for name, least in (("frame_length", 8), ("depth", 1), ("max_tokens", 1)):
            require_whole(name, getattr(self, name), least)
        require_choice("phrasing", self.phrasing, Phrasing)
        require_choice("split", self.split, Split)
        if self.call_stack and not self.thinking:
            raise ConfigurationError(
                "call_stack=True with thinking=False; accepted: calls only where there is thinking"
            )

    @classmethod
    def of(cls, env: type, arguments: Mapping[str, Any]) -> EnvConfig:
        """Returns the configuration that keyword arguments of an environment make.

        Args:
            env: The class of the environment, whose own arguments an error names as well.
            arguments: The keyword arguments that are not the environment's own.

        Raises:
            ConfigurationError: If there is no such argument, or a value makes no sense.
        """
        names = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in names:
                parameters = list(inspect.signature(env).parameters.values())
                own = [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]
                raise ConfigurationError(f"keyword argument {name!r}; expected one of {', '.join([*own, *names])}")
        return cls(**arguments)

    @property
    def digit_range(self) -> tuple[int, int]:
        """Smallest and largest size."""
        low, high = self.digits if isinstance(self.digits, Sequence) else (self.digits, self.digits)
        return int(low), int(high)

    @property
    def levels(self) -> list[Level]:
        """The kinds of problems that are drawn."""
        levels: list[Level] = []
        for name in self.operations:
            filled = self.frame_length if FAMILIES[name].long else None
            other = filled if self.other_digits is None else self.other_digits
            levels += sizes((name,), self.digit_range, other)
        return levels

    @property
    def grammar(self) -> Grammar:
        """The grammar of these environments."""
        functions = any(isinstance(FAMILIES[name], FunctionFamily) for name in self.operations)
        return Grammar(self.thinking, self.call_stack, functions)

    @property
    def limits(self) -> Limits:
        """The limits of these environments."""
        return Limits(self.frame_length, self.depth, self.max_tokens)
