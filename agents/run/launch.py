"""Starts the other processes of a run on this machine. On several machines torchrun does it.

They are started by ``multiprocessing`` with the method ``"spawn"``, which passes the interpreter's flags on, and meet
in a file, so that no port has to be free.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from o1nano.agents.learning.distributed import ProcessGroup, end
from o1nano.envs.errors import ProcessGroupError

# Gloo would otherwise look for the address of the host's name, which a laptop may not resolve.
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_GRACE = 5.0  # seconds in which a process may say by itself that the first one has ended


def is_started() -> bool:
    """Whether torchrun has started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def with_others(processes: int, work: Callable[[ProcessGroup], int]) -> int:
    """Calls a function in several processes of this machine and returns the exit status of this one, rank 0.

    No process outlives this one, however it ends. Only this one writes files, so it kills the others if it fails.

    Args:
        processes: Number of processes, this one included.
        work: Receives the process group and returns an exit status. Must be picklable if there are others.
    """
    if processes < 2:
        return work(ProcessGroup())
    if sys.platform in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])

    # 1 until the work says otherwise: an error on the way kills the others.
    others: list[SpawnProcess] = []
    status = 1
    with TemporaryDirectory(prefix="o1nano-") as folder:
        try:
            for rank in range(1, processes):
                others.append(_start(rank, processes, folder, work))

            # Connecting waits for all processes, also for one that has already failed to start.
            connected = threading.Event()
            _when_one_ends([other.sentinel for other in others], lambda: _give_up(connected, folder))
            process_group = ProcessGroup.connect(0, processes, meeting=_meeting(folder))
            connected.set()

            status = work(process_group)
        finally:
            for other in others:
                # After success each ends by itself; after a failure it may wait for this one for ever.
                if status:
                    other.kill()
                other.join()
    return status


def _meeting(folder: str) -> str:
    """Returns the address of the file in which the processes meet; PyTorch decodes it on Windows only."""
    return Path(folder, "meeting").as_uri() if sys.platform == "win32" else f"file://{folder}/meeting"


def _start(rank: int, processes: int, folder: str, work: Callable[[ProcessGroup], int]) -> SpawnProcess:
    """Starts one process. It ignores Ctrl-C until it can handle it."""
    process = multiprocessing.get_context("spawn").Process(target=_follow, args=(rank, processes, folder, work))

    # A new process inherits that a signal is ignored, so Ctrl-C does not break it while it imports.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    return process


def _follow(rank: int, processes: int, folder: str, work: Callable[[ProcessGroup], int]) -> None:
    """Does the work of a process that ``with_others`` has started."""
    # A killed first process cannot say so. Its end is noticed by its sentinel.
    first = multiprocessing.parent_process()
    assert first is not None
    _when_one_ends([first.sentinel], _end_soon)
    try:
        process_group = ProcessGroup.connect(rank, processes, meeting=_meeting(folder))
    except ProcessGroupError:  # the first process reports it, unless it was killed
        end(2)
    end(work(process_group))


def _when_one_ends(sentinels: Sequence[Any], act: Callable[[], None]) -> None:
    """Calls a function in a thread once one of several processes has ended. The main thread may be busy in C."""

    def watch() -> None:
        connection.wait(sentinels)
        act()

    threading.Thread(target=watch, daemon=True).start()


def _give_up(connected: threading.Event, folder: str) -> None:
    """Ends the first process if another one has ended before all were connected."""
    if not connected.is_set():
        shutil.rmtree(folder, ignore_errors=True)
        print("another process of the run has not started; expected --processes 1 here", file=sys.stderr)
        os._exit(2)


def _end_soon() -> None:
    """Ends this process after the first one; until then the main thread may say how to resume the run."""
    time.sleep(_GRACE)
    os._exit(2)
