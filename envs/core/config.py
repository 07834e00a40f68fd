"""Configuration of an environment: which problems, which limits, which grammar."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError, require_choice
from o1nano.envs.problems import FAMILIES, FOUR_OPERATIONS
from o1nano.envs.problems.family import Family, FunctionFamily
from o1nano.envs.problems.problem import Level, Phrasing, Split
from o1nano.envs.problems.registry import check_family
from o1nano.envs.ranges import Range, check_ranges

MAX_DIGITS = 1000
"""Keeps numbers below Python's limit for converting text."""

_PARAMETERS = ("digits", "second_digits", "operands", "numbers", "number_digits", "tokens")
"""Fields of ``EnvConfig`` that set a parameter of the levels of some families."""


def require_whole(name: str, value: Any, low: int) -> int:
    """Returns an integer argument.

    Args:
        name: Name of the argument, for the error.
        value: The value to check.
        low: The smallest value.

    Raises:
        ConfigurationError: If the value is not an integer, or is less.
    """
    if not _is_whole(value, low):
        raise ConfigurationError(f"{name}={value!r}; expected an integer of at least {low}")
    return int(value)


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) >= low


FrameLength = Annotated[int, Range(8, 2**24)]
Depth = Annotated[int, Range(1, 2**16)]
MaxTokens = Annotated[int, Range(1, 2**40)]


@dataclass(frozen=True)
class Limits:
    """Limits of one answer.

    Attributes:
        frame_length: Tokens in one frame, prompt and injected answers included; also the length of an observation.
        depth: Frames that are open at the same time, the root included.
        max_tokens: Tokens emitted for one root problem, over all its frames.
    """

    frame_length: FrameLength = 128
    depth: Depth = 32
    max_tokens: MaxTokens = 4096

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class EnvConfig:
    """Keyword arguments of the environments.

    The parameters of problems (``digits`` to ``tokens``) are integers, or pairs of the smallest and the largest value.
    None is the family's default. Each family has two of them at most: ``Family.size_name`` and ``Family.extra_name``.

    Attributes:
        operations: Families of problems, drawn uniformly. A set is sorted, so that the same seed poses the same
            problems in every process.
        digits: Digits of the longer operand or number; 1 to 3 by default.
        second_digits: Digits of the second operand.
        operands: The number of operands of an expression or a chain.
        numbers: How many numbers a list has, or Countdown makes the target of; 3 to 6 in Countdown by default.
        number_digits: Most digits of the numbers of Countdown, 1 or 2; by default they are those of the television
            show.
        tokens: Length of the frame that a problem of recall or ledger fills; ``frame_length`` by default.
        phrasing: ``"symbolic"`` (``98+45``), ``"words"`` (``What is 98 plus 45?``), ``"mixed"``, or ``"everyday"``:
            every way to write a problem that is read, as ``98 + 45 = ?`` and ``what's half of 10``.
        thinking: Whether hidden reasoning is legal.
        call_stack: Whether calls and tail calls open frames. Without it one frame holds everything: see ``Grammar``.
        frame_length: Tokens in one frame, prompt and injected answers included; also the length of an observation.
        depth: Frames that are open at the same time, the root included.
        max_tokens: Tokens emitted for one root problem, over all its frames.
        split: ``"train"``, ``"test"`` or ``"all"``, by a hash of the problem's content.
    """

    operations: Sequence[str] = FOUR_OPERATIONS
    digits: int | tuple[int, int] | None = None
    second_digits: int | tuple[int, int] | None = None
    operands: int | tuple[int, int] | None = None
    numbers: int | tuple[int, int] | None = None
    number_digits: int | tuple[int, int] | None = None
    tokens: int | tuple[int, int] | None = None
    phrasing: Phrasing = "mixed"
    thinking: bool = True
    call_stack: bool = True
    frame_length: FrameLength = 128
    depth: Depth = 32
    max_tokens: MaxTokens = 4096
    split: Split = "train"

    def __post_init__(self) -> None:
        # The way to set a field of a frozen dataclass.
        object.__setattr__(self, "operations", _families(self.operations))
        self._set_parameters()
        check_ranges(self)
        require_choice("phrasing", self.phrasing, Phrasing)
        require_choice("split", self.split, Split)
        if self.call_stack and not self.thinking:
            raise ConfigurationError(
                "call_stack=True with thinking=False; expected call_stack=False, since calls need thinking"
            )

    def _set_parameters(self) -> None:
        """Makes Python's integers of the parameters of problems, and checks that some of the families have them."""
        known = _parameters_of(self.operations)
        for name in _PARAMETERS:
            value = getattr(self, name)
            if value is None:
                continue
            # Ignored, it would suggest that the problems are what was asked for.
            if name not in known:
                expected = ", ".join(known) or "none"
                raise ConfigurationError(
                    f"keyword argument {name!r} is not one of {', '.join(self.operations)}; expected one of: {expected}"
                )
            object.__setattr__(self, name, _read_range(name, value))

    @classmethod
    def of(cls, env: type, arguments: Mapping[str, Any]) -> EnvConfig:
        """Returns the configuration for the keyword arguments of an environment.

        Args:
            env: The class of the environment, whose own arguments an error names too.
            arguments: The keyword arguments that are not the environment's own.

        Raises:
            ConfigurationError: If there is no such argument, or a value makes no sense.
        """
        # Python's own message would name this class, which the user has never seen.
        names = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in names:
                parameters = inspect.signature(env).parameters.values()
                own = [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]
                raise ConfigurationError(f"keyword argument {name!r}; expected one of {', '.join([*own, *names])}")
        return cls(**arguments)

    @property
    def levels(self) -> list[Level]:
        """The kinds of problems that are drawn."""
        levels = []
        for name in self.operations:
            family = FAMILIES[name]
            for size in self._sizes(family):
                for extra in self._extras(family):
                    levels.append(Level(name, size, extra))
        return levels

    def _sizes(self, family: Family[Any]) -> range:
        """Returns the sizes of a family's levels."""
        # Without a size there is one level.
        if family.size_name is None:
            return range(1, 2)
        value = getattr(self, family.size_name)
        low, high = _range_of(family.default_sizes if value is None else value)
        # Size 1 of Countdown is two numbers.
        return range(low - family.first_value + 1, high - family.first_value + 2)

    def _extras(self, family: Family[Any]) -> Iterable[int | None]:
        """Returns the second parameters of a family's levels."""
        value = None if family.extra_name is None else getattr(self, family.extra_name)
        if value is not None:
            low, high = _range_of(value)
            return range(low, high + 1)
        # A problem that is solved in place fills the frame.
        return (self.frame_length if family.solved_in_place else None,)

    @property
    def grammar(self) -> Grammar:
        """The grammar of these environments."""
        # Tokens of functions are legal only where a family needs them: without them there is less to explore.
        functions = any(isinstance(FAMILIES[name].origin, FunctionFamily) for name in self.operations)
        return Grammar(self.thinking, self.call_stack, functions)

    @property
    def limits(self) -> Limits:
        """The limits of these environments."""
        return Limits(self.frame_length, self.depth, self.max_tokens)


def _families(operations: Any) -> tuple[str, ...]:
    """Returns families in an order that is the same in every process, which that of a set is not."""
    if isinstance(operations, str) or not isinstance(operations, Iterable):
        raise ConfigurationError(f"operations={operations!r}; expected a list of families, such as ('addition',)")

    # An iterator can be read once only.
    names = tuple(operations)
    if not names:
        raise ConfigurationError(f"operations={operations!r}; expected at least one family")

    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"operation {name!r}; expected the name of a family, such as 'addition'")
        check_family(name)
    return tuple(sorted(names)) if isinstance(operations, (set, frozenset)) else names


def _parameters_of(operations: Sequence[str]) -> list[str]:
    """Returns the parameters that some of the families have."""
    # Several families share a parameter, such as ``digits``.
    known: dict[str, None] = {}
    for name in operations:
        family = FAMILIES[name]
        for parameter in (family.size_name, family.extra_name):
            if parameter is not None:
                known[parameter] = None
    return list(known)


def _read_range(name: str, value: Any) -> int | tuple[int, int]:
    """Returns a parameter of problems: an integer, or a pair of integers in the right order."""
    pair = value if isinstance(value, Sequence) else (value, value)
    # Frames may have up to 128,000 tokens; everything else is a number of digits or of numbers.
    high = np.inf if name == "tokens" else MAX_DIGITS
    right = len(pair) == 2 and _is_whole(pair[0], 1) and _is_whole(pair[1], pair[0]) and pair[1] <= high
    if not right:
        limit = "" if high == np.inf else f" <= {high}"
        raise ConfigurationError(f"{name}={value!r}; expected an integer, or (low, high) with 1 <= low <= high{limit}")
    return (int(pair[0]), int(pair[1])) if isinstance(value, Sequence) else int(value)


def _range_of(value: int | tuple[int, int]) -> tuple[int, int]:
    """Returns the smallest and the largest value of a parameter."""
    return (value, value) if isinstance(value, int) else value
