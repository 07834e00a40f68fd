"""What a model can do: held-out accuracy by family and size, from the files beside it or from its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from o1nano.agents.evaluation.held_out import wilson
from o1nano.envs.errors import O1NanoError
from o1nano.envs.problems.problem import read_level
from o1nano.policies.record import TrainingRecord

_LARGEST_FILE = 2**22
NOTHING = {"source": "", "families": []}


def measurements(model: Path, record: TrainingRecord | None) -> dict[str, Any]:
    """Returns the held-out accuracy of a model, by family and size.

    Of these the first one that exists: the ``results.json`` of the model's run, which has the figures before and after
    PPO; a ``NAME.json`` beside ``NAME.pth``, as ``evaluate.py --json`` writes it; the record in the model file.

    Args:
        model: The model's file, or the folder of its run.
        record: What the model file says.

    Returns:
        ``"source"``, empty if there is nothing, and ``"families"``: a list of names with rows of figures.
    """
    folder = model if model.is_dir() else model.parent
    results = _read(folder / "results.json")
    if results.get("after"):
        return _table("results.json", results.get("before", ()), results["after"])

    if not model.is_dir():
        report = model.with_suffix(".json")
        cells = _read(report).get("cells")
        if cells:
            return _table(report.name, (), cells)

    if record is not None:
        cells = _cells(record)
        if cells:
            return _table("the model's own file", (), cells)
    return NOTHING


def _read(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file, or nothing if it is missing or holds something else."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _cells(record: TrainingRecord) -> list[dict[str, Any]]:
    cells = []
    for name, level in record.levels.items():
        if level.problems:
            low, high = wilson(round(level.accuracy * level.problems), level.problems)
            cells.append({"name": name, "n": level.problems, "accuracy": level.accuracy, "low": low, "high": high})
    return cells


def _table(source: str, before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Groups cells by their family; each has the accuracy before PPO too, if that is known."""
    earlier = {cell["name"]: cell["accuracy"] for cell in before}
    families: dict[str, list[dict[str, Any]]] = {}
    for cell in after:
        try:
            level = read_level(cell["name"])
        except O1NanoError:
            # A family that a user has added, and that is not registered here.
            continue
        row = {
            "size": str(level).partition("/")[2],
            "n": cell["n"],
            "before": earlier.get(cell["name"]),
            "after": cell["accuracy"],
            "low": cell["low"],
            "high": cell["high"],
        }
        families.setdefault(level.family.replace("_", " "), []).append(row)
    return {"source": source, "families": [{"family": name, "rows": rows} for name, rows in families.items()]}
