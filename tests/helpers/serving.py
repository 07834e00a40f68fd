"""``evaluate.py --serve`` as a user starts it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.paths import ROOT


@contextlib.contextmanager
def served(model: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serves a model from a folder, which may have ``runs``; gives the address of the page and the process."""
    command = [sys.executable, str(ROOT / "evaluate.py"), str(model), "--serve"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0], process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
