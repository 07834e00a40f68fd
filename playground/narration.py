"""From the events of a search to the messages that the page draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import Channel, Grammar
from o1nano.envs.language.vocab import TOKENS, answer_text
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.branches import Branch
from o1nano.policies.search.checking import NUM_CHECKS
from o1nano.policies.search.events import (
    BranchEnded,
    ChecksBegan,
    Event,
    FrameOpened,
    FrameReturned,
    TokenEmitted,
)

Message = dict[str, Any]
"""Plain values with a ``"kind"``."""

LIKELY = 4
"""How many of the likeliest tokens the page shows for a place."""
_SMALLEST = 0.0005  # a probability below is shown as nothing


@dataclass
class _Frame:
    """An open frame: its number on the page, and the grammar's state after its tokens."""

    number: int
    state: int


@dataclass
class _Path:
    """One attempt: its number on the page, and its open frames."""

    number: int
    frames: list[_Frame] = field(default_factory=list)


class Narrator:
    """Tells the events of one search as messages. Frames and paths get numbers in the order of their beginnings.

    Args:
        grammar: Of the model's environment.

    Attributes:
        branches: The branch of every path, by its number.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.branches: dict[int, Branch] = {}
        self._paths: dict[int, _Path] = {}
        self._frames = 0
        self._is_checking = False
        self._checked: tuple[str, ...] = ()

    def tell(self, event: Event) -> Message | None:
        """Returns the message of an event; None if the page does not show it, as the frames of a check."""
        if isinstance(event, ChecksBegan):
            self._is_checking = True
            self._checked = event.texts
            return {"kind": "checking", "texts": list(event.texts)}
        if not isinstance(event, (FrameOpened, TokenEmitted, FrameReturned, BranchEnded)):
            self._is_checking = False
            passed = dict(zip(self._checked, event.passed, strict=True))
            return {"kind": "checked", "passed": passed, "of": NUM_CHECKS}
        if self._is_checking:
            return None

        path = self._path(event.branch)
        if isinstance(event, TokenEmitted):
            return self._token(path, event)
        if isinstance(event, FrameOpened):
            return self._opened(path, event)
        if isinstance(event, FrameReturned):
            return self._returned(path, event)
        return self._ended(path, event.branch)

    def _path(self, branch: Branch) -> _Path:
        # A branch is kept with its path, so no other object gets its id.
        key = id(branch)
        if key not in self._paths:
            self._paths[key] = _Path(len(self._paths))
            self.branches[len(self.branches)] = branch
        return self._paths[key]

    def _opened(self, path: _Path, event: FrameOpened) -> Message:
        replaced = path.frames.pop().number if event.replaces else None
        parent = path.frames[-1].number if path.frames else None
        frame = _Frame(self._frames, self.grammar.run(event.prompt))
        path.frames.append(frame)
        self._frames += 1
        return {
            "kind": "frame",
            "path": path.number,
            "frame": frame.number,
            "parent": parent,
            "replaces": replaced,
            "prompt": _texts(event.prompt),
        }

    def _token(self, path: _Path, event: TokenEmitted) -> Message:
        frame = path.frames[-1]
        channel = Channel(int(self.grammar.channel[frame.state]))
        frame.state = int(self.grammar.successor[frame.state, event.token])
        return {
            "kind": "token",
            "path": path.number,
            "frame": frame.number,
            "text": TOKENS[event.token],
            "role": channel.name.lower(),
            "likely": likely(event.log_probs, event.token),
        }

    def _returned(self, path: _Path, event: FrameReturned) -> Message:
        child = path.frames.pop()
        caller = path.frames[-1]
        return {
            "kind": "return",
            "path": path.number,
            "frame": caller.number,
            "child": child.number,
            "answer": _texts(event.answer),
        }

    def _ended(self, path: _Path, branch: Branch) -> Message:
        usage = branch.attempt.usage
        return {
            "kind": "end",
            "path": path.number,
            "answer": answer_text(branch.answer),
            "outcome": branch.outcome.name.lower(),
            "log_prob": round(branch.log_prob, 4),
            "hidden_tokens": usage.hidden_tokens,
            "completion_tokens": usage.completion_tokens,
            "subtasks": usage.subtasks,
            "revisions": usage.revisions,
        }

    def conclude(self, answer: Answer, usage: str) -> Message:
        """Returns the message of the answer that was chosen.

        Args:
            answer: The answer.
            usage: What it cost, as one line.
        """
        chosen = None
        for number, branch in self.branches.items():
            if chosen is None and branch.log_prob == answer.log_prob and branch.outcome.name.lower() == answer.outcome:
                chosen = number
        return {
            "kind": "answer",
            "path": chosen,
            "text": answer.text,
            "outcome": answer.outcome,
            "correct": answer.correct,
            "expected": answer.problem.answer_text,
            "passed_checks": answer.passed_checks,
            "usage": usage,
        }


def likely(log_probs: npt.NDArray[np.float32], token: int) -> list[tuple[str, float]]:
    """Returns the likeliest tokens with their probabilities, the likeliest first; the chosen one is always there.

    Args:
        log_probs: ``[V]`` log-probabilities.
        token: The one that was chosen.
    """
    order = np.argsort(-log_probs)[:LIKELY].tolist()
    if token not in order:
        order.append(token)
    found = []
    for index in order:
        probability = float(np.exp(log_probs[index]))
        if probability >= _SMALLEST or index == token:
            found.append((TOKENS[index], round(probability, 4)))
    return found


def _texts(tokens: bytes) -> list[str]:
    return [TOKENS[token] for token in tokens]
