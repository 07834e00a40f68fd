"""Attacks and load on the real server: a clear line for everyone, nothing left running, bounded memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.serving import served
from tests.helpers.visits import messages

pytest.importorskip("uvicorn", reason="the extra demo is not installed")

pytestmark = pytest.mark.integration

MODEL = ROOT / "pretrained" / "o1_model.pth"
LONG = {"problem": "98765432123456789*98765432123456789", "paths": 16}
"""Takes longer than anybody waits."""


class Server:
    """The server, seen from outside."""

    def __init__(self, url: str, process: Popen[str]) -> None:
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

    def status(self, name: str) -> int:
        """A number in the process's status, such as ``VmRSS`` in kilobytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise LookupError(name)

    def seconds_of_cpu(self) -> float:
        """CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(MODEL, tmp_path_factory.mktemp("load")) as (url, process):
        yield Server(url, process)


def until_token(response: http.client.HTTPResponse) -> None:
    """Reads until the first token has come."""
    while b'"kind":"token"' not in response.readline():
        pass


def test_a_first_token_comes_soon(server: Server, record_property: Any) -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        with server.asked({"problem": "98+45"}) as response:
            until_token(response)
            seconds.append(time.perf_counter() - began)
    record_property("seconds", sorted(seconds))
    print(f"first token after {sorted(seconds)[2]:.3f} s, {min(seconds):.3f} to {max(seconds):.3f}")
    assert min(seconds) < 0.3


def test_ten_visitors_at_once_are_answered_or_told(server: Server) -> None:
    found: list[tuple[int, list[dict[str, Any]]]] = []
    visitors = []
    for number in range(10):
        question = {"problem": f"{10 + number}+7", "seed": number}
        visitors.append(threading.Thread(target=lambda given=question: found.append(server.ask(given))))
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(300)
    assert len(found) == 10
    answered = [told[-1] for status, told in found if status == 200]
    refused = [told[-1] for status, told in found if status != 200]
    assert all(told["kind"] == "answer" and told["correct"] for told in answered) and len(answered) >= 9
    assert all("visitors wait already" in told["error"] for told in refused)


def test_tabs_that_are_closed_leave_nothing_running(server: Server) -> None:
    before = server.status("VmRSS")
    for _ in range(6):
        with server.asked(LONG) as response:
            until_token(response)

    # The next visitor is answered at once, and afterwards nothing runs.
    began = time.perf_counter()
    status, told = server.ask({"problem": "1+1"})
    assert (status, told[-1]["text"]) == (200, "2")
    waited = time.perf_counter() - began
    time.sleep(1.5)
    spent = server.seconds_of_cpu()
    time.sleep(1.0)
    idle = server.seconds_of_cpu() - spent
    grown = (server.status("VmRSS") - before) / 1024
    print(f"after six closed tabs: answered after {waited:.2f} s, {idle:.2f} s of CPU in a second, {grown:+.0f} MB")
    assert idle < 0.2 and grown < 150


def test_a_visitor_who_does_not_read_blocks_nobody_for_ever(server: Server) -> None:
    with server.asked(LONG):
        time.sleep(1.0)
        before = server.status("VmRSS")
        time.sleep(2.0)
        grown = (server.status("VmRSS") - before) / 1024
        assert grown < 100
    assert server.ask({"problem": "2+2"})[1][-1]["text"] == "4"


@pytest.mark.parametrize(
    ("request_line", "said"),
    [
        (b"POST /api/ask HTTP/1.1\r\nHost: evil.example\r\n", b"403"),
        (b"POST /api/ask HTTP/1.1\r\nHost: HERE\r\nOrigin: http://evil.example\r\n", b"403"),
        (b"POST /api/ask HTTP/1.1\r\nHost: HERE\r\n", b"403"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: HERE\r\n", b"404"),
        (b"GET /api/runs/%2e%2e%2f%2e%2e HTTP/1.1\r\nHost: HERE\r\n", b"40"),
        (b"nonsense\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n", b"40"),
    ],
    ids=["host", "origin", "no origin", "path", "run", "nonsense", "no host"],
)
def test_raw_attacks_are_refused(server: Server, request_line: bytes, said: bytes) -> None:
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), 30) as raw:
        raw.sendall(request_line.replace(b"HERE", server.host.encode()) + b"Content-Length: 0\r\n\r\n")
        answer = raw.recv(4096)
    assert answer.split()[1].startswith(said)
    assert b"Traceback" not in answer and b"root:" not in answer


def test_a_body_without_end_is_cut(server: Server) -> None:
    host, port = server.host.split(":")
    head = f"POST /api/ask HTTP/1.1\r\nHost: {server.host}\r\nOrigin: http://{server.host}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
    before = server.status("VmRSS")
    with socket.create_connection((host, int(port)), 30) as raw:
        raw.sendall(head.encode())
        answer = b""
        try:
            for _ in range(100):
                raw.sendall(b"x" * 10**6)
        except OSError:
            pass  # the server has closed the connection
        else:
            answer = raw.recv(4096)
    assert answer == b"" or b"400" in answer
    assert (server.status("VmRSS") - before) / 1024 < 50
    assert server.ask({"problem": "3+3"})[1][-1]["text"] == "6"


def test_it_listens_on_this_machine_only(server: Server) -> None:
    _, port = server.host.split(":")
    listening = f":{int(port):04X}"
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(listening) and fields[3] == "0A":
            found.append(fields[1])
    assert found == [f"0100007F{listening}"]
    assert not [line for line in Path("/proc/net/tcp6").read_text().splitlines() if f"{listening} " in line]


def test_a_port_in_use_is_one_line(server: Server, tmp_path: Path) -> None:

    _, port = server.host.split(":")
    command = [sys.executable, str(ROOT / "evaluate.py"), str(MODEL), "--serve", "--port", port]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"--port {port}" in done.stderr and "expected a free port" in done.stderr
