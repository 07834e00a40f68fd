"""Compiled loops on as many threads as PyTorch uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch as th

_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # a forked process has the pools of its parent, but not their threads


def in_threads(loop: Callable[..., None], bounds: Sequence[int], *arguments: Any) -> None:
    """Calls ``loop(*arguments, begin, end)`` for each range between bounds, all at the same time.

    Args:
        loop: A compiled loop, which holds no lock of the interpreter. What it writes in one range must not depend on
            another one.
        bounds: Ascending; see ``equal_shares``.
        *arguments: What ``loop`` is given before its range.
    """
    ranges = list(pairwise(bounds))
    if len(ranges) == 1:
        loop(*arguments, *ranges[0])
        return
    pool = _pools.setdefault(len(ranges), ThreadPoolExecutor(len(ranges)))
    for done in [pool.submit(loop, *arguments, *each) for each in ranges]:
        done.result()


def equal_shares(count: int) -> list[int]:
    """Returns the bounds of one part of ``range(count)`` for each of PyTorch's threads; at least of one, if empty."""
    threads = max(1, min(th.get_num_threads(), count))
    return [count * index // threads for index in range(threads + 1)]
