"""What an answer costs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

# When costs are added up, these fields take the larger value. All others are sums.
_MAXIMA = ("depth", "longest_context")

# Only a search knows these fields. The environment measures all others.
_OF_SEARCH = ("reused_subtasks", "paths")


@dataclass(frozen=True)
class Usage:
    """Tokens and frames that one or more attempts at a problem took. ``a + b`` is the cost of both.

    Attributes:
        reasoning_tokens: Emitted tokens of hidden reasoning.
        completion_tokens: Emitted tokens outside of it. At the root these are the visible answer.
        subtask_tokens: Emitted tokens inside ``<call> ... </call>``.
        subtasks: Calls.
        revisions: ``<revise>`` tokens.
        depth: Largest number of frames that were open at the same time.
        longest_context: Tokens of the longest frame.
        reused_subtasks: Calls that were given the result of an earlier, equal one.
        paths: Attempts that these figures cover. A self-check is part of an attempt and is not counted.
    """

    reasoning_tokens: int = 0
    completion_tokens: int = 0
    subtask_tokens: int = 0
    subtasks: int = 0
    revisions: int = 0
    depth: int = 0
    longest_context: int = 0
    reused_subtasks: int = 0
    paths: int = 0

    @property
    def tokens(self) -> int:
        """All emitted tokens."""
        return self.hidden_tokens + self.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        """Emitted tokens that a user does not see: reasoning and subtasks."""
        return self.reasoning_tokens + self.subtask_tokens

    def __add__(self, other: Usage) -> Usage:
        """Returns the cost of both. Depth and longest context are the larger ones."""
        total: dict[str, Any] = {}
        for field in fields(self):
            mine = getattr(self, field.name)
            theirs = getattr(other, field.name)
            total[field.name] = max(mine, theirs) if field.name in _MAXIMA else mine + theirs
        return Usage(**total)


EPISODE_USAGE = tuple(field.name for field in fields(Usage) if field.name not in _OF_SEARCH)
"""The fields that the environment measures, in their order: keys of ``info``, and the first fields of ``Usage``."""
