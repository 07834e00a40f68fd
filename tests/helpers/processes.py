"""Several processes that train together, for the tests."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from o1nano.agents.learning.distributed import ProcessGroup

DIED = 9


def together(folder: Path, function: Callable[[ProcessGroup], Any], size: int = 2) -> list[Any]:
    """Calls a function in several processes, forked from this one; returns what each has returned.

    One that has ended itself with status ``DIED`` has returned None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(folder, function, rank, size)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)  # on a busy machine; a process that hangs is an error all the same
    errors = folder / "errors"
    statuses = [worker.exitcode for worker in workers]
    assert set(statuses) <= {0, DIED}, errors.read_text() if errors.exists() else statuses
    files = [folder / f"returned-{rank}" for rank in range(size)]
    return [pickle.loads(path.read_bytes()) if path.exists() else None for path in files]


def _work(folder: Path, function: Callable[[ProcessGroup], Any], rank: int, size: int) -> None:
    status = 1
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
        (folder / f"returned-{rank}").write_bytes(pickle.dumps(function(ProcessGroup(rank, size, size))))
        status = 0
    except BaseException:  # whatever it was, the parent shows it and fails
        with (folder / "errors").open("a") as file:
            file.write(traceback.format_exc())
    os._exit(status)  # nothing of pytest's own is done twice
