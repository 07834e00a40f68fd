"""The machine, and what a result depends on besides its configuration: versions, commit, processor."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import gymnasium
import numpy as np
import torch as th

import o1nano


def cores() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def return_memory() -> None:
    """Returns unused memory to the system, if the C library can (glibc's ``malloc_trim``).

    Every rollout and update has tensors of other sizes. The memory that they free is too fragmented to be returned by
    itself: without this the resident memory of a long run grows to several times what it holds.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def versions() -> dict[str, str]:
    """Returns the versions and the machine that a result depends on."""
    return {
        "o1nano": o1nano.__version__,
        "commit": commit(Path(o1nano.__file__).resolve().parent),
        "python": platform.python_version(),
        "torch": str(th.__version__),  # a subclass of str, which is no plain value
        "gymnasium": gymnasium.__version__,
        "stable_baselines3": version("stable_baselines3"),  # without importing it, which takes seconds
        "numpy": np.__version__,
        "cpu": cpu(),
        "machine": f"{platform.machine()}, {th.get_num_threads()} threads",
        "command": " ".join(sys.argv),
    }


def commit(folder: Path) -> str:
    """Returns the commit of a checkout, followed by ``-dirty`` if files have been changed.

    Args:
        folder: Any folder of the checkout.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        # Git is not installed, or hangs.
        return "unknown"
    return done.stdout.strip() or "none: not a checkout"


def cpu() -> str:
    """Returns the processor's name."""
    # platform.processor() is empty on most Linux systems.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
