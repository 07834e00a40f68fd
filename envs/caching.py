"""A cache of the results of a function of prompts, bounded in memory as well as in number."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

Result = TypeVar("Result")

SHORT = 256  # tokens of all arguments together
LONG_ENTRIES = 32


def bounded_cache(
    entries: int = 1 << 14, size: Callable[..., int] | None = None
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Returns a decorator that keeps the last results of a function.

    A prompt may have a dozen tokens or 128,000, and what is kept of it grows with it. So there are many places for
    short arguments, and ``LONG_ENTRIES`` for longer ones.

    Args:
        entries: How many results of short arguments are kept.
        size: Returns the number of tokens of the arguments; by default the sum of their lengths.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        short = lru_cache(maxsize=entries)(function)
        long = lru_cache(maxsize=LONG_ENTRIES)(function)

        @wraps(function)
        def cached(*arguments: Any) -> Result:
            tokens = sum(map(len, arguments)) if size is None else size(*arguments)
            return short(*arguments) if tokens <= SHORT else long(*arguments)

        return cached

    return decorate
