"""Times what a newcomer does: clone, install as the README says, serve the page, see the first tree.

``python dev/newcomer.py`` needs requirements-browser.txt and Chromium for the last step. Everything lies in a temporary
folder, which has no compiled functions yet. The CPU time is that of the processes that have ended with the step; the
server's is in the last line. Where other programs use the cores too, it says more than the time that passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE = 600_000.0  # milliseconds


def timed(name: str, step: Callable[[], None]) -> float:
    """Does a step, prints how long it took, and returns that in seconds."""
    began = time.perf_counter()
    spent = cpu_seconds()
    step()
    seconds = time.perf_counter() - began
    print(f"{name:<32}{seconds:7.1f} s{cpu_seconds() - spent:7.1f} s of CPU", flush=True)
    return seconds


def cpu_seconds() -> float:
    """CPU time of all programs that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def run(*command: str, folder: Path) -> None:
    """Runs a command that must succeed."""
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def ask(url: str) -> None:
    """Opens the page in a browser, asks, and waits until the tree has its first token."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        page.fill("#problem", "34*57")
        page.click("#submit")
        page.wait_for_selector(".tree .frame .tok.completion")
        browser.close()


def main() -> None:
    """Does all steps."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "o1-nano"
        python = str(folder / "venv" / "bin" / "python")
        total = timed("git clone", lambda: run("git", "clone", "-q", str(REPOSITORY), str(folder), folder=REPOSITORY))
        total += timed("python -m venv venv", lambda: run(sys.executable, "-m", "venv", "venv", folder=folder))
        install = (python, "-m", "pip", "install", "-q", "-r", "requirements.txt")
        total += timed("pip install -r requirements.txt", lambda: run(*install, folder=folder))

        command = [python, "evaluate.py", "--serve"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            lines: list[str] = []
            total += timed("python evaluate.py --serve", lambda: lines.append(server.stdout.readline()))
            try:
                total += timed("the first tree in the browser", lambda: ask(lines[0].split()[0]))
            finally:
                server.terminate()
        print(f"{'from git clone to the tree':<32}{total:7.1f} s{cpu_seconds():7.1f} s of CPU")


if __name__ == "__main__":
    main()
