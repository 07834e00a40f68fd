"""Runs under ``runs/`` while they train, read from their own files."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from o1nano.envs.errors import O1NanoError

_POINTS = 400  # of a curve; TensorBoard's reader keeps a sample of more
_MOST_RUNS = 200
_TRANSCRIPT = 20_000  # characters
_TRANSCRIPTS = ("frontier", "easy", "failed")
_SUCCESS = re.compile(r"accuracy/(\w+)(?:/(\w+))?", re.ASCII)
_OPEN = re.compile(r"curriculum/(\w+)", re.ASCII)
_SOLVED = ("rollout/success_rate", "warm_start/accuracy", "evaluation/average")


class RunError(O1NanoError):
    """There is no such run."""


class Runs:
    """The runs in a folder. Reads what is new in the files of the run that was asked for last.

    Args:
        folder: Usually ``runs``. It may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._name = ""
        self._readers: dict[str, EventAccumulator] = {}

    def names(self) -> list[dict[str, Any]]:
        """Returns the name of every run, the newest first, and whether it is finished."""
        found = []
        for config in self.folder.glob("*/config.json"):
            is_finished = (config.parent / "results.json").is_file()
            found.append((config.stat().st_mtime, {"name": config.parent.name, "finished": is_finished}))
        found.sort(key=lambda run: -run[0])
        return [run for _, run in found[:_MOST_RUNS]]

    def read(self, name: str) -> dict[str, Any]:
        """Returns the curves and the newest transcripts of a run.

        Args:
            name: One of ``names``.

        Raises:
            RunError: If there is no such run.
        """
        # Only names that the folder lists: nothing that a visitor sends becomes a path.
        found = [run for run in self.names() if run["name"] == name]
        if not found:
            raise RunError(f"no run {name[:40]!r}; expected one of those under {self.folder}/")
        with self._lock:
            self._reload(name)
            return {
                **found[0],
                "config": self._config(name),
                "solved": self._solved(),
                "success": self._success(),
                "frontier": self._frontier(),
                "transcripts": self._transcripts(),
            }

    def _reload(self, name: str) -> None:
        if name != self._name:
            self._name = name
            self._readers = {}
        folder = self.folder / name
        # The curves of each size are in a folder of their own.
        for events in sorted(folder.rglob("events.out.tfevents.*")):
            key = str(events.parent.relative_to(folder))
            if key not in self._readers:
                kept = {"scalars": _POINTS, "tensors": 1, "images": 1, "histograms": 1}
                self._readers[key] = EventAccumulator(str(events.parent), size_guidance=kept)
        for reader in self._readers.values():
            reader.Reload()

    def _config(self, name: str) -> dict[str, Any]:
        content = json.loads((self.folder / name / "config.json").read_text(encoding="utf-8"))
        config: dict[str, Any] = content.get("config", {})
        shown = ("seed", "iterations", "sum_digits", "product_digits")
        return {key: config[key] for key in shown if key in config}

    def _curves(self) -> Iterator[tuple[str, str, list[list[float]]]]:
        """Yields the folder, the tag and the points of every curve."""
        for folder, reader in self._readers.items():
            for tag in reader.Tags()["scalars"]:
                yield folder, tag, [[point.step, round(point.value, 4)] for point in reader.Scalars(tag)]

    def _solved(self) -> dict[str, list[list[float]]]:
        return {tag: points for _, tag, points in self._curves() if tag in _SOLVED}

    def _success(self) -> dict[str, dict[str, list[list[float]]]]:
        """Returns the success of each family by size."""
        found: dict[str, dict[str, list[list[float]]]] = {}
        for folder, tag, points in self._curves():
            matched = _SUCCESS.fullmatch(tag)
            if matched:
                size = matched[2] or folder.removeprefix("size_")
                found.setdefault(matched[1].replace("_", " "), {})[size] = points
        return found

    def _frontier(self) -> dict[str, list[list[float]]]:
        """Returns the largest open size of each family."""
        found = {}
        for _, tag, points in self._curves():
            matched = _OPEN.fullmatch(tag)
            if matched:
                found[matched[1].replace("_", " ")] = points
        return found

    def _transcripts(self) -> dict[str, str]:
        """Returns the newest transcripts as plain text."""
        found = {}
        reader = self._readers.get(".")
        for name in _TRANSCRIPTS:
            tag = f"transcript/{name}/text_summary"
            if reader is not None and tag in reader.Tags()["tensors"]:
                written = reader.Tensors(tag)[-1].tensor_proto.string_val[0].decode(errors="replace")
                found[name] = written.strip("`\n")[:_TRANSCRIPT]
        return found
