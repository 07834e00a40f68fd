"""Visitors of the playground: what they receive, and an application to ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from o1nano.playground.answering import Limits
from o1nano.playground.app import create_app
from o1nano.policies.search.solver import Solver

HOST = "127.0.0.1:8000"
OWN = {"origin": f"http://{HOST}"}


def application(solver: Solver, folder: Path, **limits: Any) -> Any:
    """The application with a model and a folder that has its files and runs."""
    return create_app(solver, folder / "o1_model.pth", folder / "runs", (HOST,), Limits(**limits))


def messages(stream: str) -> list[dict[str, Any]]:
    """The messages in a stream of server-sent events."""
    found: list[dict[str, Any]] = []
    for event in stream.split("\n\n"):
        if event.startswith("data: "):
            found += json.loads(event[6:])
    return found


def lines(told: list[dict[str, Any]], path: int = 0) -> list[str]:
    """The frames of a path in the order of their calls, indented as ``--show-reasoning`` does, from messages alone."""
    texts: dict[int, list[str]] = {}
    depths: dict[int, int] = {}
    for message in told:
        if message.get("path") != path:
            continue
        if message["kind"] == "frame":
            parent = message["parent"]
            depths[message["frame"]] = 0 if parent is None else depths[parent] + 1
            texts[message["frame"]] = list(message["prompt"])
        elif message["kind"] == "token":
            texts[message["frame"]].append(message["text"])
        elif message["kind"] == "return":
            texts[message["frame"]] += message["answer"]
    return ["  " * depths[frame] + " ".join(tokens) for frame, tokens in texts.items()]
