"""Files of lines that people type, with the answer or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """A line of a corpus.

    Attributes:
        text: What a person types.
        answer: The right answer, or one of them; None if the line is refused.
        reason: A part of the reason for the refusal.
    """

    text: str
    answer: str | None
    reason: str = ""

    def __str__(self) -> str:
        """Returns the text, so that tests are named by it."""
        return self.text.strip()


def read_corpus(path: Path) -> list[Line]:
    """Reads ``TEXT => ANSWER`` and ``TEXT !! REASON``, one a line; a line that begins with ``#`` is a comment."""
    lines = []
    for row in path.read_text(encoding="utf-8").splitlines():
        if row.startswith("#") or not row.strip():
            continue
        if " !! " in row:
            text, _, reason = row.partition(" !! ")
            lines.append(Line(text, None, reason))
        else:
            text, _, answer = row.partition(" => ")
            lines.append(Line(text, answer))
    return lines
