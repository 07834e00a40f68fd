"""Answers as readable trees of frames."""

from __future__ import annotations

from o1nano.envs.rules import Ended
from o1nano.envs.vocab import spell
from o1nano.policies.answers import Answer


def transcript(answer: Answer) -> str:
    """Returns the problem, the tree of frames as they were called, and the answer."""
    lines = ["  " * frame.depth + spell(frame.tokens) for frame in in_call_order(list(answer.frames))]
    verdict = "right" if answer.correct else f"wrong, {answer.problem.answer_text} is right"
    said = answer.text or f"no answer: {answer.outcome}"
    return "\n".join([answer.problem.text, *lines, f"{said}  ({verdict}, {answer.tokens} tokens)"])


def in_call_order(frames: list[Ended]) -> list[Ended]:
    """Turns the order in which frames ended (children first) into the order in which they were opened."""
    trees: list[list[Ended]] = []  # each a frame and, behind it, what it called
    for frame in frames:
        below: list[Ended] = []
        while trees and trees[-1][0].depth > frame.depth:
            below = trees.pop() + below
        trees.append([frame, *below])
    return [frame for tree in trees for frame in tree]
