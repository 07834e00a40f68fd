"""Compiled loops on the number of threads that PyTorch uses.

The loops release the interpreter's lock, so a pool of Python threads runs them in parallel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

# One pool for each number of threads. A forked process inherits the pools of its parent, but not their threads.
_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)


def in_threads(loop: Callable[..., None], bounds: Sequence[int], *arguments: Any) -> None:
    """Calls ``loop(*arguments, begin, end)`` for each range between bounds, all at the same time.

    Args:
        loop: A compiled loop. What it writes for one range must not depend on another range.
        bounds: Ascending; see ``equal_shares``.
        *arguments: Arguments of ``loop`` before its range.
    """
    ranges = list(pairwise(bounds))
    if len(ranges) == 1:
        loop(*arguments, *ranges[0])
        return

    pool = _pools.setdefault(len(ranges), ThreadPoolExecutor(len(ranges)))
    futures = [pool.submit(loop, *arguments, *each) for each in ranges]
    for future in futures:
        future.result()


def equal_shares(count: int) -> list[int]:
    """Returns the bounds of one part of ``range(count)`` for each of PyTorch's threads.

    No part is empty, except that a count of 0 gives one empty part. 10 on four threads give ``[0, 2, 5, 7, 10]``.
    """
    threads = max(1, min(th.get_num_threads(), count))
    return [count * index // threads for index in range(threads + 1)]


def weighted_shares(weights: npt.NDArray[np.integer]) -> list[int]:
    """Returns bounds between items, one part for each thread, with about the same sum of weights in each part.

    An item belongs to the part in which the middle of its weight lies. Weights of 10, 10, 10 and 30 on two threads give
    ``[0, 3, 4]``. A part is empty if an item beside it is heavier than a part.
    """
    count = len(weights)
    parts = len(equal_shares(count)) - 1
    ideal = weights.sum() * np.arange(1, parts) / parts
    middles = weights.cumsum() - weights / 2
    return [0, *np.searchsorted(middles, ideal).tolist(), count]
