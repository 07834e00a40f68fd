"""Caches of prompts are bounded in memory, whatever the length of the prompts."""

from __future__ import annotations

import tracemalloc

from o1nano.envs.caching import LONG_ENTRIES, SHORT, bounded_cache
from o1nano.envs.language.vocab import EQUALS, ID, SUBTASK
from o1nano.envs.problems.verifier import frame_accepts, frame_answer, frame_task, is_useful_subtask

SEVEN = bytes([ID["7"]])


def test_short_results_are_kept_and_few_long_ones() -> None:
    computed: list[bytes] = []

    @bounded_cache(entries=100)
    def double(prompt: bytes) -> bytes:
        computed.append(prompt)
        return prompt * 2

    short = [SEVEN * length for length in range(1, 51)]
    long = [SEVEN * (SHORT + length) for length in range(1, 51)]
    for prompt in [*short, *long]:
        assert double(prompt) == prompt * 2
    computed.clear()
    for prompt in [*short, *long[-LONG_ENTRIES:]]:
        double(prompt)
    assert computed == []
    double(long[0])
    assert computed == [long[0]]


def test_many_long_prompts_take_no_more_memory_than_a_few() -> None:
    length, count = 20_000, 4 * LONG_ENTRIES
    tracemalloc.start()
    for number in range(count):
        prompt = bytes([SUBTASK]) + bytes([ID[")"], number]) + SEVEN * length + bytes([EQUALS])
        frame_task(prompt)
        frame_answer(prompt)
        frame_accepts(prompt, SEVEN)
        is_useful_subtask(prompt, bytes([SUBTASK, ID["1"], ID["+"], ID["1"], EQUALS]))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < length * count / 2
