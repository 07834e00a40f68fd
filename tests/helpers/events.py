"""What TensorBoard would draw of a run."""

from __future__ import annotations

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Every scalar of a run by its tag, apart from times."""
    found: dict[str, list[tuple[int, str]]] = {}
    # By number: the names of a dozen sessions within a second are not in the order of the sessions.
    for path in sorted(folder.glob("events.*"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)]):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if not tag.startswith("time/"):
                found.setdefault(tag, []).extend((scalar.step, repr(scalar.value)) for scalar in events.Scalars(tag))
    return found
