"""The machine: its devices, and what a result depends on beside its configuration (versions, commit, processor)."""

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
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def return_memory() -> None:
    """Gives memory that is no longer used back to the system, where the C library can (glibc, ``malloc_trim``).

    The tensors of every rollout and update have other sizes. What they leave free is too scattered to go back by
    itself, and the resident memory of a long run grew to several times what it holds.
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
        "stable_baselines3": version("stable_baselines3"),  # not imported: evaluate.py does without
        "numpy": np.__version__,
        "cpu": cpu(),
        "machine": f"{platform.machine()}, {th.get_num_threads()} threads",
        "command": " ".join(sys.argv),
    }


def commit(folder: Path) -> str:
    """Returns the commit of the checkout that a folder is in, with ``-dirty`` behind it if files have been changed."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"  # no Git here
    return done.stdout.strip() or "none: not a checkout"


def cpu() -> str:
    """Returns the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
