"""What a visitor asks, read from the body of a request. Nothing in it is executed or written."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args

from o1nano.envs.errors import ConfigurationError, require_choice
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies.search.options import MAX_TEMPERATURE, SearchOptions, Select

MAX_BODY = 8192
"""Most bytes of a request's body."""
MAX_PATHS = 16
"""Most paths of a question: more do not fit on a page."""
MAX_CHARACTERS = 2000
MAX_SEED = 2**53 - 1
"""The largest whole number that JavaScript has exactly."""
CHOICES = tuple(choice for choice in get_args(Select) if choice != "oracle")
"""How an answer can be chosen. The oracle looks at the solution, so it does not answer questions."""


@dataclass(frozen=True)
class Question:
    """A problem and how it is to be answered."""

    problem: str
    """As people write it."""
    paths: Annotated[int, Range(1, MAX_PATHS)] = 1
    """Attempts at it."""
    select: str = "majority"
    """Which of their answers is chosen, one of ``CHOICES``."""
    temperature: Annotated[float | None, Range(0, MAX_TEMPERATURE)] = None
    """By default 0 for one path and 1 for several."""
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    """Chooses the samples."""

    def __post_init__(self) -> None:
        if not isinstance(self.problem, str) or len(self.problem) > MAX_CHARACTERS:
            raise ConfigurationError(f"problem; expected a text of at most {MAX_CHARACTERS} characters")
        for name in ("paths", "temperature", "seed"):
            # For Python, True is a whole number.
            if isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)}; expected a number")
        check_ranges(self)
        if self.select not in CHOICES:
            raise ConfigurationError(f"select={str(self.select)[:40]!r}; expected {', '.join(CHOICES)}")

    @property
    def search(self) -> SearchOptions:
        """The options of the search."""
        select: Any = self.select
        require_choice("select", select, Select)
        return SearchOptions(self.paths, self.temperature, select)


def read_question(body: bytes) -> Question:
    """Reads a question from JSON.

    Args:
        body: Such as ``{"problem": "98+45", "paths": 4}``; what is missing has its default.

    Raises:
        ConfigurationError: If it is no question. The message is one line that says what was expected.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError('a body that is not JSON; expected {"problem": "98+45"}') from error
    if not isinstance(given, dict) or "problem" not in given:
        raise ConfigurationError('a body without a problem; expected {"problem": "98+45"}')

    known = [field.name for field in fields(Question)]
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{name[:40]!r} in a question; expected {', '.join(known)}")
    return Question(**given)
