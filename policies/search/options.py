"""How much to spend on an answer, and how to choose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from o1nano.envs.errors import ConfigurationError, require_choice
from o1nano.envs.ranges import Range, check_ranges

Select = Literal["majority", "likelihood", "check", "oracle"]

MAX_PATHS = 10**5
"""Upper bound of paths and votes: a larger number is a typing error."""
MAX_TOKENS = 10**9
MAX_TEMPERATURE = 1000
"""At this temperature all legal tokens are practically equally likely."""


@dataclass(frozen=True)
class SearchOptions:
    """How problems are answered. The default is one greedy path.

    Raises:
        ConfigurationError: From ``validate``, if a value makes no sense.
    """

    paths: Annotated[int, Range(1, MAX_PATHS)] = 1
    """Attempts at each problem. With --select check, the most that are made: it stops when more are not worth it."""
    temperature: Annotated[float | None, Range(0, MAX_TEMPERATURE)] = None
    """Log-probabilities are divided by it before sampling. By default 0 (greedy) for one path and 1 for several."""
    select: Select = "majority"
    """Which answer is chosen: the most frequent one, that of the likeliest path, the one that passes most of the
    model's own checks (further paths are tried only while they may change it), or a right one (the oracle looks at the
    solution and is an upper bound)."""
    votes: Annotated[int, Range(1, MAX_PATHS)] = 1
    """Attempts at every subtask; the majority decides. All but the first are sampled (at temperature 1 if the path is
    greedy), every second one with exchanged operands if the operation allows it."""
    reuse_subtasks: bool = False
    """Whether equal subtasks of a path share one result."""
    max_tokens: Annotated[int, Range(0, MAX_TOKENS)] = 0
    """After this many tokens a path must answer at once; 0 leaves it to the limit of the environment. A subtask that is
    voted on or reused has its own count."""
    min_tokens: Annotated[int, Range(0, MAX_TOKENS)] = 0
    """Before this many tokens a thought may not end."""

    def validate(self) -> None:
        """Checks all values.

        Raises:
            ConfigurationError: If a value makes no sense.
        """
        check_ranges(self)
        if self.max_tokens and self.min_tokens > self.max_tokens:
            raise ConfigurationError(f"min_tokens={self.min_tokens}; expected at most max_tokens={self.max_tokens}")
        require_choice("select", self.select, Select)

    @property
    def sampling_temperature(self) -> float:
        """The temperature, with the default resolved."""
        return float(self.paths > 1) if self.temperature is None else self.temperature

    @property
    def runs_subtasks_apart(self) -> bool:
        """Whether subtasks leave the call stack of their caller and become branches of their own."""
        return self.votes > 1 or self.reuse_subtasks
