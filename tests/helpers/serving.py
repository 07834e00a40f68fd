"""``evaluate.py --serve`` as a user starts it."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from tests.helpers.visits import messages


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
        process.wait(120)
        process.stdout.close()


class Server:
    """The server, seen from outside."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.host = url.split("/")[2]
        self.process = process

    @contextlib.contextmanager
    def asked(self, question: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """Asks a question; gives the response, of which nothing has been read, and closes it like a tab."""
        connection = http.client.HTTPConnection(self.host, timeout=120)
        headers = {"Content-Type": "application/json", "Origin": f"http://{self.host}"}
        with contextlib.closing(connection):
            connection.request("POST", "/api/ask", json.dumps(question), headers)
            with connection.getresponse() as response:
                yield response

    def ask(self, question: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        """Asks a question and reads everything."""
        with self.asked(question) as response:
            body = response.read().decode()
            return response.status, messages(body) if response.status == 200 else [json.loads(body)]

    def megabytes(self) -> float:
        """Memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise LookupError("VmRSS")

    def seconds_of_cpu(self) -> float:
        """CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def wants_cpu(self) -> bool:
        """Whether a thread of the process runs or waits for a core."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                return True
        return False

    def until_idle(self, patience: float = 120.0) -> float:
        """Waits until the process computes nothing; returns its CPU time in the last second.

        Raises:
            AssertionError: If it still computes after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            spent = self.seconds_of_cpu()
            busy = 0
            for _ in range(20):
                time.sleep(0.05)
                busy += self.wants_cpu()
            idle = self.seconds_of_cpu() - spent
            # Where others hold the cores a process that computes gets little time, but it wants it all the time.
            if idle < 0.1 and busy < 10:
                return idle
        raise AssertionError(f"still {idle:.2f} s of CPU in a second after {patience:g} s")
