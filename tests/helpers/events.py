"""What TensorBoard would draw of a run."""

from __future__ import annotations

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Every scalar of a run by its tag, apart from times. Tags of a size end with it, as ``accuracy/addition/3``."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(folder.rglob("events.*"), key=_numbers):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        size = "" if path.parent == folder else "/" + path.parent.name.removeprefix("size_")
        for tag in events.Tags()["scalars"]:
            if not tag.startswith("time/"):
                points = found.setdefault(tag + size, [])
                points.extend((scalar.step, repr(scalar.value)) for scalar in events.Scalars(tag))
    return found


def _numbers(path: Path) -> list[int]:
    """By number: the names of a dozen sessions within a second are not in the order of the sessions."""
    return [int(part) for part in re.findall(r"\d+", path.name)]
