"""What benchmarks of speed share: alternating repetitions, medians with their spread, and a stopwatch of methods.

Seconds are those of the processor, in all threads of this process: a machine that does other work too makes them vary,
but not grow. With one thread and nothing else to do they are those of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Timing = dict[str, float]
clock = time.process_time


def positive(text: str) -> int:
    """Reads a number of at least 1, for a parser of flags."""
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number of at least 1")
    return int(text)


def spread(values: list[float]) -> Timing:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def alternate(jobs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times jobs in turn, so that what else the machine does meets all of them; the first round is a warm-up.

    Returns:
        Seconds of each job in each of ``repeats`` rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(repeats + 1):
        for name, job in jobs.items():
            start = clock()
            job()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def versus(jobs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Seconds of every job, and how many times faster the first one is than each other, round by round."""
    seconds = alternate(jobs, repeats)
    first, *others = seconds
    factors = {
        f"{first} over {name}": spread([b / a for a, b in zip(seconds[first], seconds[name], strict=True)])
        for name in others
    }
    return {"seconds": {name: spread(values) for name, values in seconds.items()}, "factor": factors}


class Stopwatch:
    """Seconds spent in methods of objects, by a name given to each; nested ones are taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[float] = []

    def time(self, name: str, owner: Any, method: str) -> None:
        """Times a method from now on."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.running(name):
                return original(*args, **kwargs)

        setattr(owner, method, timed)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Times what is inside."""
        start = clock()
        self._running.append(0.0)
        try:
            yield
        finally:
            taken = clock() - start
            self.seconds[name] += taken - self._running.pop()
            if self._running:
                self._running[-1] += taken
