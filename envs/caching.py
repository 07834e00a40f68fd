"""A cache for functions of prompts, bounded in memory as well as in the number of entries."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

Result = TypeVar("Result")

SHORT = 256
"""Largest number of tokens, all arguments together, that counts as short."""

LONG_ENTRIES = 32
"""Number of results that are kept for longer arguments."""


def bounded_cache(
    entries: int = 1 << 14, size: Callable[..., int] | None = None
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Returns a decorator that keeps the last results of a function.

    A prompt may have a dozen tokens or 128,000, and a result may be as large as its prompt. So there is room for many
    results of short arguments, and for ``LONG_ENTRIES`` of longer ones.

    Args:
        entries: Number of results of short arguments that are kept.
        size: Function that returns the number of tokens of the arguments; by default the sum of their lengths.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        # Two caches of the same function: many entries for short arguments, few for long ones.
        short = lru_cache(maxsize=entries)(function)
        long = lru_cache(maxsize=LONG_ENTRIES)(function)

        @wraps(function)
        def cached(*arguments: Any) -> Result:
            tokens = sum(map(len, arguments)) if size is None else size(*arguments)
            return short(*arguments) if tokens <= SHORT else long(*arguments)

        return cached

    return decorate
