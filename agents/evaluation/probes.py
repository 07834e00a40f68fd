"""Does it reason? The hidden tokens are tampered with before the answer is written; if they matter, it suffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from o1nano.envs.language.vocab import CALL, END_THINK, EQUALS, NOTHING, QUOTIENT_DIGIT, THINK, ZERO
from o1nano.envs.problems.problem import Problem, frame_accepts, frame_answer, stream
from o1nano.policies.search.branches import Attempt, Branch
from o1nano.policies.search.engine import Engine
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

Tamper = Callable[[list[bytes], np.random.Generator], list[bytes]]


def _blank(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    return [bytes([NOTHING]) * len(thought) for thought in thoughts]


def _shuffle(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    return [rng.permutation(np.frombuffer(thought, dtype=np.uint8)).tobytes() for thought in thoughts]


def _swap(thoughts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Everyone thinks the next one's thoughts."""
    return thoughts[1:] + thoughts[:1]


PROBES: dict[str, Tamper] = {
    "intact": lambda thoughts, rng: thoughts,
    "blank": _blank,
    "shuffled": _shuffle,
    "swapped": _swap,
}


def probe(solver: Solver, problems: Sequence[Problem]) -> dict[str, float]:
    """Measures accuracy with the root's hidden tokens as they are, blanked, shuffled, and of another problem.

    Only what stands between ``<think>`` and ``</think>`` of the root is touched. The model then writes the answer.

    Args:
        solver: The model.
        problems: Some of one kind; those that it leaves unanswered do not count.
    """
    answers = solver.solve_all(problems, keep_frames=True)
    ended = [(answer.problem, answer.frames[-1].tokens) for answer in answers if answer.outcome == "answered"]
    roots = [(problem, root) for problem, root in ended if THINK in root]
    cuts = [(root.index(THINK) + 1, root.index(END_THINK)) for _, root in roots]
    thoughts = [root[slice(*cut)] for (_, root), cut in zip(roots, cuts, strict=True)]
    found = {}
    for name, tamper in PROBES.items():
        changed = tamper(thoughts, stream("probe", name))
        frames = [
            root[:first] + thought + bytes([END_THINK])
            for (_, root), (first, _), thought in zip(roots, cuts, changed, strict=True)
        ]
        said = conclude(solver, frames)
        right = [problem.accepts(answer) for (problem, _), answer in zip(roots, said, strict=True)]
        found[name] = float(np.mean(right)) if right else 0.0
    return found


def conclude(solver: Solver, frames: Sequence[bytes]) -> list[bytes]:
    """Has the model go on from frames that are under way; returns the visible answers, empty where there is none."""
    said = [b""] * len(frames)

    def start(index: int) -> Branch:
        def on_end(branch: Branch) -> None:
            said[index] = branch.answer

        return Branch(frames[index], 0, Attempt(), on_end)

    fitting = [index for index, frame in enumerate(frames) if len(frame) < solver.config.frame_length]
    if fitting:
        engine = Engine(solver.network, solver.config, min(solver.batch, len(fitting)), SearchOptions())
        engine.run(map(start, fitting))
    return said


def revise(solver: Solver, problems: Sequence[Problem]) -> dict[str, float | int]:
    """Plants first guesses in the quotient digits of divisions, and sees whether the model revises them.

    The frames are those that the model itself has asked for; each is judged by its own prompt.

    Args:
        solver: The model.
        problems: Divisions.

    Returns:
        The number of frames; of those with a wrong guess the share that is right in the end; of those with the right
        guess the share that the model talks itself out of.
    """
    answers = solver.solve_all(problems, keep_frames=True)
    prompts = dict.fromkeys(
        frame.tokens[: frame.tokens.index(EQUALS) + 1]
        for answer in answers
        for frame in answer.frames
        if QUOTIENT_DIGIT in frame.tokens[: frame.tokens.index(EQUALS)] and CALL in frame.tokens
    )
    rng = stream("revise")
    right: list[bytes] = []
    wrong: list[bytes] = []
    for prompt in prompts:
        known = frame_answer(prompt)
        if known is None:
            continue
        other = (known[0] - ZERO + int(rng.integers(1, 10))) % 10 + ZERO
        right.append(prompt + bytes([THINK, known[0]]))
        wrong.append(prompt + bytes([THINK, other]))

    def share(frames: list[bytes], right: bool) -> float:
        said = conclude(solver, frames)
        judged = [bool(frame_accepts(frame[:-2], answer)) for frame, answer in zip(frames, said, strict=True)]
        return judged.count(right) / max(1, len(judged))

    return {
        "frames": len(right),
        "wrong guess, right in the end": share(wrong, right=True),
        "right guess, wrong in the end": share(right, right=False),
    }
