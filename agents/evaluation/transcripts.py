"""Answers as readable trees of frames."""

from __future__ import annotations

from rich.text import Text

from o1nano.envs.core.call_stack import Ended
from o1nano.envs.core.grammar import Channel
from o1nano.envs.render import COLOURS, token_roles
from o1nano.policies.search.answers import Answer

# White is for pictures, whose background is dark; a terminal's may be light.
_STYLES = {**COLOURS, Channel.COMPLETION.name.lower(): "bold"}


def tree(answer: Answer) -> Text:
    """Returns the problem, the tree of frames in the order of their calls, and the answer. Channels have colours."""
    text = Text(answer.problem.text)
    for frame in in_call_order(list(answer.frames)):
        text.append("\n" + "  " * frame.depth)
        for index, (token, kind) in enumerate(token_roles(frame.tokens)):
            # Between tokens, not before the first one.
            text.append(" " * (index > 0))
            text.append(token, _STYLES[kind])

    verdict = "right" if answer.correct else f"wrong, {answer.problem.answer_text} is right"
    said = answer.text or f"no answer: {answer.outcome}"
    return text.append(f"\n{said}  ({verdict}, {answer.tokens} tokens)")


def transcript(answer: Answer) -> str:
    """Returns ``tree`` as plain text."""
    return tree(answer).plain


def in_call_order(frames: list[Ended]) -> list[Ended]:
    """Sorts frames by the time they were opened.

    A frame ends after the frames that it has called, so these come first. With depths in the order of the end, for
    example, ``2 2 1 0`` becomes ``0 1 2 2``.

    Args:
        frames: All frames of one answer, in the order in which they ended.
    """
    # Each tree is a frame followed by the frames that it has called, directly or not.
    trees: list[list[Ended]] = []
    for frame in frames:
        called: list[Ended] = []
        while trees and trees[-1][0].depth > frame.depth:
            called = trees.pop() + called
        trees.append([frame, *called])

    ordered: list[Ended] = []
    for one in trees:
        ordered += one
    return ordered
