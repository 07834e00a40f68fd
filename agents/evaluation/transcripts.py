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
    """Returns the problem, the tree of frames as they were called, and the answer; a channel has a colour."""
    text = Text(answer.problem.text)
    for frame in in_call_order(list(answer.frames)):
        text.append("\n" + "  " * frame.depth)
        for index, (token, kind) in enumerate(token_roles(frame.tokens)):
            text.append(" " * (index > 0))
            text.append(token, _STYLES[kind])
    verdict = "right" if answer.correct else f"wrong, {answer.problem.answer_text} is right"
    said = answer.text or f"no answer: {answer.outcome}"
    return text.append(f"\n{said}  ({verdict}, {answer.tokens} tokens)")


def transcript(answer: Answer) -> str:
    """Returns ``tree`` as plain text."""
    return tree(answer).plain


def in_call_order(frames: list[Ended]) -> list[Ended]:
    """Turns the order in which frames ended (children first) into the order in which they were opened."""
    trees: list[list[Ended]] = []  # each a frame and, behind it, what it called
    for frame in frames:
        below: list[Ended] = []
        while trees and trees[-1][0].depth > frame.depth:
            below = trees.pop() + below
        trees.append([frame, *below])
    return [frame for family in trees for frame in family]
