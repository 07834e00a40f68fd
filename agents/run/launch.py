"""The other processes of a run on this machine, started by the first one. On several machines torchrun does it.

Each is the same command with the variables in its environment that torchrun would set, so ``Team.join`` need not know.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from o1nano.agents.learning.distributed import Team

_HERE = "127.0.0.1"


def is_started() -> bool:
    """Tells whether somebody, torchrun or the first process of a run, has started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def with_others(processes: int, work: Callable[[Team], int]) -> int:
    """Does work in so many processes, this one leading, and returns its exit status.

    Only this one writes files, so the others are killed once it has not succeeded: nothing is lost by that.
    """
    if processes < 2:
        return work(Team())
    shared = {
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        # Gloo would look for the name of the machine, which a laptop may not resolve.
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    before, others, status = os.environ.copy(), list[subprocess.Popen[bytes]](), 1
    try:
        for rank in reversed(range(processes)):
            os.environ.update(shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            if rank:
                # In a group of their own: Ctrl-C is for the first one, which tells the others when it can.
                others.append(subprocess.Popen([sys.executable, *sys.argv], process_group=0))
        with _watching(others):
            team = Team.join()
        status = work(team)
    finally:
        for other in others:
            if status:
                other.kill()
            other.wait()
        os.environ.clear()
        os.environ.update(before)
    return status


@contextmanager
def _watching(others: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ends this process if another one ends meanwhile: nothing else would interrupt the waiting for it."""
    met = threading.Event()

    def watch() -> None:
        while not met.wait(0.2):
            if any(other.poll() is not None for other in others):
                for other in others:
                    other.kill()
                print("another process of the run has not started; accepted: --processes 1", file=sys.stderr)
                os._exit(2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        met.set()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HERE, 0))
        port: int = listener.getsockname()[1]
    return port
