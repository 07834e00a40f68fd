"""Problems to try: one of every family that the model knows."""

from __future__ import annotations

from o1nano.envs.errors import O1NanoError
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level, draw, read_level
from o1nano.envs.seeding import stream
from o1nano.policies.record import TrainingRecord
from o1nano.policies.search.solver import Solver

_LARGEST = 3  # size of an example, if the model has learned that many sizes
_USUAL = 2  # size of an example, if nobody knows what the model has learned
_LONGEST = 48  # characters of an example that fits on a button
_TRIES = 8


def examples(solver: Solver) -> list[dict[str, str]]:
    """Returns an example of each family that the model has learned; of all families if its file does not say.

    Args:
        solver: The model.
    """
    known = None if solver.record is None else learned(solver.record)
    found = []
    for name in FAMILIES:
        if known is None:
            # Some families have one size only.
            text = _example(solver, Level(name, _USUAL)) or _example(solver, Level(name, 1))
        else:
            text = _example(solver, known[name]) if name in known else ""
        if text:
            found.append({"family": name.replace("_", " "), "problem": text})
    return found


def learned(record: TrainingRecord) -> dict[str, Level]:
    """Returns a level of each family that a model has learned: the largest up to a usual size, or else the smallest.

    Args:
        record: What the model was trained on.
    """
    chosen: dict[str, Level] = {}
    for name, level_record in record.levels.items():
        level = read_level(name)
        other = chosen.get(level.family)
        if level_record.is_learned and (other is None or _merit(level) > _merit(other)):
            chosen[level.family] = level
    return chosen


def _merit(level: Level) -> int:
    return level.size if level.size <= _LARGEST else -level.size


def _example(solver: Solver, level: Level) -> str:
    """Returns a short problem of a level that the model can read, or nothing if it can read none."""
    rng = stream("playground", level)
    for _ in range(_TRIES):
        try:
            text = draw(level, rng, "all").text
            solver.read(text)
        except O1NanoError:
            # The level has no such problem, or one with words that the model does not know, or too long for its frame.
            continue
        if len(text) <= _LONGEST:
            return text
    return ""
