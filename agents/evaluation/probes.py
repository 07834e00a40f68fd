"""Does the model reason? Its hidden tokens are changed before it writes the answer. If they matter, accuracy falls.

The method is that of Lanham et al. (2023), "Measuring faithfulness in chain-of-thought reasoning".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from o1nano.envs.language.vocab import CALL, END_THINK, EQUALS, NOTHING, QUOTIENT_DIGIT, THINK, ZERO
from o1nano.envs.problems.problem import Problem
from o1nano.envs.problems.verifier import frame_accepts, frame_answer
from o1nano.envs.seeding import stream
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.branches import Attempt, Branch
from o1nano.policies.search.engine import Engine
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

Change = Callable[[list[bytes], np.random.Generator], list[bytes]]


def _keep(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """The control: the model continues from what it has written itself."""
    return thoughts


def _blank(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Replaces every token by one without meaning; lengths stay."""
    return [bytes([NOTHING]) * len(thought) for thought in thoughts]


def _shuffle(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Puts the tokens of each thought in random order."""
    shuffled = []
    for thought in thoughts:
        tokens = np.frombuffer(thought, dtype=np.uint8)
        shuffled.append(rng.permutation(tokens).tobytes())
    return shuffled


def _swap(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Gives every problem the thought of the next one."""
    # The last one gets the first. A single problem keeps its own, so this probe needs several.
    return thoughts[1:] + thoughts[:1]


PROBES: dict[str, Change] = {
    "intact": _keep,
    "blank": _blank,
    "shuffled": _shuffle,
    "swapped": _swap,
}


@dataclass(frozen=True)
class _Root:
    """A root frame with a thought: ``before <think> thought </think> ...``.

    Attributes:
        problem: Its problem.
        before: All tokens up to ``<think>``, included.
        thought: The tokens between ``<think>`` and ``</think>``.
    """

    problem: Problem
    before: bytes
    thought: bytes


def probe(solver: Solver, problems: Sequence[Problem]) -> dict[str, float]:
    """Measures accuracy with the root's hidden tokens intact, blanked, shuffled, and of another problem.

    Only the tokens between ``<think>`` and ``</think>`` of the root are changed. The model then writes the answer.

    Args:
        solver: The model.
        problems: Problems of one kind. Those that the model leaves unanswered do not count.

    Returns:
        The accuracy for each of ``PROBES``; 0 if no problem counts.
    """
    # What the model thinks by itself. The changes below replace these thoughts, and nothing else.
    roots = _find_roots(solver.solve_all(problems, keep_frames=True))
    thoughts = [root.thought for root in roots]

    accuracies = {}
    for name, change in PROBES.items():
        # A stream for each change: what one draws does not alter the others.
        changed = change(thoughts, stream("probe", name))
        frames = []
        for root, thought in zip(roots, changed, strict=True):
            frames.append(root.before + thought + bytes([END_THINK]))

        answers = conclude(solver, frames)
        right = 0
        for root, answer in zip(roots, answers, strict=True):
            right += root.problem.accepts(answer)
        accuracies[name] = right / max(1, len(roots))
    return accuracies


def _find_roots(answers: Sequence[Answer]) -> list[_Root]:
    """Returns the roots of answered problems, taken apart. The root is the last frame to end."""
    roots = []
    for answer in answers:
        tokens = answer.frames[-1].tokens if answer.outcome == "answered" else b""
        # A root that answers without thinking has nothing to change.
        if THINK in tokens:
            first = tokens.index(THINK) + 1
            last = tokens.index(END_THINK)
            roots.append(_Root(answer.problem, tokens[:first], tokens[first:last]))
    return roots


def conclude(solver: Solver, frames: Sequence[bytes]) -> list[bytes]:
    """Lets the model continue unfinished frames to their end.

    Args:
        solver: The model.
        frames: The frames so far, as token ids.

    Returns:
        The visible answers; an empty one for a frame without room or without an answer.
    """
    answers = [b""] * len(frames)

    # Each frame is a branch of its own, as if the engine had decoded it so far.
    def start(index: int) -> Branch:
        def on_end(branch: Branch) -> None:
            answers[index] = branch.answer

        return Branch(frames[index], 0, Attempt(), on_end)

    # A full frame has no room for another token.
    fitting = [index for index, frame in enumerate(frames) if len(frame) < solver.config.frame_length]
    if fitting:
        engine = Engine(solver.network, solver.config, min(solver.batch, len(fitting)), SearchOptions())
        engine.run(map(start, fitting))
    return answers


def revise(solver: Solver, problems: Sequence[Problem]) -> dict[str, float | int]:
    """Plants first guesses in the quotient digits of divisions and measures whether the model revises them.

    The frames are those of digits that the model itself has asked for. Each is judged by its own prompt.

    Args:
        solver: The model.
        problems: Divisions.

    Returns:
        The number of frames; the share of wrong guesses that the model corrects; the share of right guesses that it
        changes for a wrong one.
    """
    # The model's own subtasks are the right ones to plant guesses in: their prompts are what it is used to.
    prompts = _quotient_prompts(solver.solve_all(problems, keep_frames=True))
    right, wrong = _plant_guesses(prompts)

    corrected = _count_right(solver, wrong)
    kept = _count_right(solver, right)
    count = len(right)
    return {
        "frames": count,
        "wrong guess, right in the end": corrected / max(1, count),
        "right guess, wrong in the end": (count - kept) / max(1, count),
    }


def _plant_guesses(prompts: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Returns, for each prompt of a quotient digit, a frame that begins with the right digit, and one with a wrong one.

    Prompts without an answer are left out.
    """
    rng = stream("revise")
    right: list[bytes] = []
    wrong: list[bytes] = []
    for prompt in prompts:
        expected = frame_answer(prompt)
        if expected is None:
            continue

        # One of the nine other digits. The answer begins with its only quotient digit: "9 R 8 1".
        other = (expected[0] - ZERO + int(rng.integers(1, 10))) % 10 + ZERO

        # The guess stands where the model writes its own, right after <think>.
        right.append(prompt + bytes([THINK, expected[0]]))
        wrong.append(prompt + bytes([THINK, other]))
    return right, wrong


def _quotient_prompts(answers: Sequence[Answer]) -> list[bytes]:
    """Returns the prompts of the frames of quotient digits that call something, each once."""
    # A frame without a call has written its digit without a trial, so there would be nothing to revise it by.
    prompts: dict[bytes, None] = {}
    for answer in answers:
        for frame in answer.frames:
            end = frame.tokens.index(EQUALS)
            if QUOTIENT_DIGIT in frame.tokens[:end] and CALL in frame.tokens:
                prompts[frame.tokens[: end + 1]] = None
    return list(prompts)


def _count_right(solver: Solver, frames: list[bytes]) -> int:
    """Lets the model continue frames that end with ``<think>`` and a guess; returns the number of right answers."""
    right = 0
    for frame, answer in zip(frames, conclude(solver, frames), strict=True):
        # Without <think> and the guess.
        prompt = frame[:-2]
        right += bool(frame_accepts(prompt, answer))
    return right
