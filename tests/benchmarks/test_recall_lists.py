"""The lists that ``benchmarks/recipes/recall.py`` trains on: keys that are easily taken for one another."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.recipes.recall import LONGEST, SIZE, batches, drill, table
from o1nano.envs.language.vocab import EQUALS, NOTHING, ZERO
from o1nano.envs.problems.recall import KEY_DIGITS


def pairs_of(lines: int, seed: int = 0, key_digits: int = KEY_DIGITS) -> list[tuple[str, str]]:
    numbers = table(np.random.default_rng(seed), lines, key_digits)
    return [(str(key), str(value)) for key, value in zip(numbers[::2], numbers[1::2], strict=True)]


@pytest.mark.parametrize(("lines", "key_digits"), [(1, 5), (30, 5), (6, 1), (50, 2)])
def test_keys_are_distinct_and_of_the_length_asked_for(lines: int, key_digits: int) -> None:
    pairs = pairs_of(lines, 0, key_digits)
    assert len({key for key, _ in pairs}) == len(pairs) == lines
    assert {len(key) for key, _ in pairs} == {key_digits}
    assert {len(value) for _, value in pairs} == {SIZE}


def test_most_keys_are_like_another_one_and_many_are_its_anagram() -> None:
    near = anagrams = 0
    for seed in range(20):
        keys = [key for key, _ in pairs_of(40, seed)]
        for key in keys:
            others = [other for other in keys if other != key]
            near += min(sum(a != b for a, b in zip(key, other, strict=True)) for other in others) <= 2
            anagrams += any(sorted(key) == sorted(other) for other in others)
    assert near > 0.5 * 20 * 40
    assert anagrams > 0.25 * 20 * 40


def test_a_drill_looks_up_every_key_of_its_list_once() -> None:
    frame = drill(np.random.default_rng(0), 12, KEY_DIGITS)
    tokens = frame.tokens.tolist()
    digits = [str(token - ZERO) if ZERO <= token < ZERO + 10 else " " for token in tokens]
    start = tokens.index(EQUALS)
    asked = ["".join(digits[at - KEY_DIGITS : at]) for at in range(start, len(tokens)) if tokens[at] == NOTHING]
    prompt = "".join(digits[:start]).split()[:-2]  # without the question
    values = dict(zip(prompt[::2], prompt[1::2], strict=True))
    assert sorted(asked) == sorted(values)
    imitated = "".join(digits[at + 1] for at in frame.positions)
    assert imitated == "".join(values[key] for key in asked)


@pytest.mark.parametrize("first", [0, 50, 100])
def test_batches_hold_the_tokens_asked_for_at_any_time_of_the_curriculum(first: int) -> None:
    batch = next(batches(np.random.default_rng(0), 2048, 100, first))
    lengths = [len(frame.tokens) for frame in batch]
    assert lengths == sorted(lengths) and max(lengths) <= LONGEST + 64
    assert 2000 <= sum(lengths) <= 2048 + 3 * LONGEST
