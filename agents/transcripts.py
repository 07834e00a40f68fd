"""Answers as readable trees of frames."""

from __future__ import annotations

from o1nano.envs.rules import Ended
from o1nano.envs.vocab import spell
from o1nano.policies.engine import Answer


def transcript(answer: Answer) -> str:
    """Returns the problem, the tree of frames as they were called, and the answer."""
    lines = ["  " * frame.depth + spell(frame.tokens) for frame in in_call_order(list(answer.frames))]
    verdict = "right" if answer.correct else f"wrong, {answer.problem.answer_text} is right"
    said = answer.text or f"no answer: {answer.outcome}"
    return "\n".join([answer.problem.text, *lines, f"{said}  ({verdict}, {answer.tokens} tokens)"])


def in_call_order(frames: list[Ended]) -> list[Ended]:
    """Turns the order in which frames ended (children first) into the order in which they were opened."""
    out: list[Ended] = []
    while frames:
        out.append(frames.pop())
        depth = out[-1].depth
        children = []
        while frames and frames[-1].depth > depth:
            children.append(frames.pop())
        # What lies below a frame are its subtrees, each ended by its root.
        subtrees: list[list[Ended]] = []
        for child in reversed(children):
            if subtrees and subtrees[-1][-1].depth > depth + 1:
                subtrees[-1].append(child)
            else:
                subtrees.append([child])
        for subtree in subtrees:
            out += in_call_order(subtree)
    return out
