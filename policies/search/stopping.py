"""When the paths so far have told enough: a sequential test."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
"""How sure it must be that further paths are not worth their tokens."""


def is_surely_below(share: float, hits: int, misses: int) -> bool:
    """Returns whether paths of some kind are, with 95% confidence, rarer than a share of all paths.

    The test is that of adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860, "Beta" criterion): sampling ends
    when the posterior, uniform before the first path, leaves less than 5% for the event that would change the choice.
    For a vote the event is that the second answer is the more frequent of two: a share of one half. Here the share is
    free, because an answer that passes a check wins against any number of votes: then the event is that such answers
    are frequent enough to be waited for.

    After ``hits`` and ``misses`` the posterior is Beta(hits + 1, misses + 1). Its mass above ``share`` is the chance
    that a binomial variable of ``hits + misses + 1`` trials, each with the chance ``share``, is at most ``hits``.

    Args:
        share: Of all paths that count, between 0 and 1.
        hits: Paths of that kind so far.
        misses: The others that count.
    """
    trials = hits + misses + 1
    above = 0.0
    for count in range(hits + 1):
        # Logarithms, because binomial coefficients of more than a thousand paths do not fit in a float.
        ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        above += math.exp(ways + count * math.log(share) + (trials - count) * math.log1p(-share))
    return above <= 1 - CONFIDENCE
