"""How work is divided among threads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from o1nano.policies.network.threads import equal_shares, in_threads, weighted_shares


@pytest.mark.parametrize(
    ("weights", "one", "three"),
    [
        ([10, 10, 10, 30], [0, 4], [0, 2, 3, 4]),
        ([5, 5], [0, 2], [0, 1, 2]),
        ([100, 1, 1], [0, 3], [0, 0, 1, 3]),
        ([], [0, 0], [0, 0]),
    ],
)
def test_shares_have_about_the_same_weight(weights: list[int], one: list[int], three: list[int], threads: int) -> None:
    assert weighted_shares(np.array(weights, dtype=np.int64)) == (one if threads == 1 else three)


def test_every_item_is_in_one_share(threads: int) -> None:
    seen: list[int] = []
    for bounds in (equal_shares(10), weighted_shares(np.arange(10))):
        assert (bounds[0], bounds[-1], len(bounds)) == (0, 10, threads + 1)
        in_threads(lambda begin, end: seen.extend(range(begin, end)), bounds)
    assert sorted(seen) == sorted(2 * list(range(10)))
    assert all(begin <= end for begin, end in pairwise(bounds))
