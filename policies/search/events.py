"""What happens while the engine decodes, for whoever watches it: a page that draws the tree of frames, or a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from o1nano.policies.search.branches import Branch


@dataclass(frozen=True)
class FrameOpened:
    """A frame has begun.

    Attributes:
        branch: The branch that it belongs to.
        depth: Number of frames open below it; 0 is the root.
        prompt: Its tokens so far.
        replaces: Whether it takes the place of the frame that was on top before, as a tail call does.
    """

    branch: Branch
    depth: int
    prompt: bytes
    replaces: bool = False


@dataclass(frozen=True)
class TokenEmitted:
    """The model has written a token.

    Attributes:
        branch: The branch that it belongs to.
        depth: Depth of its frame.
        token: Its id.
        log_probs: ``[V]`` log-probabilities of all tokens in its place, at temperature 1; -inf where a token was
            illegal or ruled out. Valid during the call only.
    """

    branch: Branch
    depth: int
    token: int
    log_probs: npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrameReturned:
    """A frame has ended, and its answer was appended to the frame that called it.

    Attributes:
        branch: The branch of the caller.
        depth: Depth of the caller.
        answer: The tokens that were appended.
    """

    branch: Branch
    depth: int
    answer: bytes


@dataclass(frozen=True)
class BranchEnded:
    """A branch has its outcome. One that is no longer needed just stops, without this event."""

    branch: Branch


@dataclass(frozen=True)
class ChecksBegan:
    """The model checks answers. Until ``ChecksEnded`` all branches are those of the checks.

    Attributes:
        texts: The answers.
    """

    texts: tuple[str, ...]


@dataclass(frozen=True)
class ChecksEnded:
    """The model has checked answers.

    Attributes:
        passed: How many checks each answer has passed, in the order of ``ChecksBegan``.
    """

    passed: tuple[int, ...]


Event = FrameOpened | TokenEmitted | FrameReturned | BranchEnded | ChecksBegan | ChecksEnded

Observe = Callable[[Event], None]
"""Called with every event, in order. What it raises ends the search: that is how a search is cancelled."""
