"""Places, roles and offsets: hand-computed on the reference frames, and never looking ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import DIGITS, VOCAB_SIZE
from o1nano.policies.network.digit_positions import NUM_ROLES, coordinates
from tests.helpers.tiny import ids

FRAMES = {
    "root sum": (
        "<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> 3 4 1 </think> 1 4 3 <eos>",
        "     3    2 1 3 2 1 0    1      0    1 2 0 1 2    0    1 2 3     4    3 2 1   4  ",
        "     1    1 1 2 2 2 2    2      0    1 1 1 2 2   17    17 17 17  0    1 1 1   1  ",
    ),
    "sum": (
        "<subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1 <eos>",
        "     0    1 2 3 1 2 3    1    1 2 2 3     0    1 2 3   0  ",
        "     0    1 1 1 2 2 2    2    14 15 14 15 0    1 1 1   1  ",
    ),
    "negative difference": (
        "<subtask> 4 3 - 3 5 = <think> 1 0 8 1 <call> 3 5 - 4 3 </call> 9 1 </think> - 9 1 <eos>",
        "     0    1 2 3 1 2 3    1    1 2 2 3    0   1 2 0 1 2    0    1 2     0    0 1 2   0  ",
        "     0    1 1 1 2 2 2    2  14 15 14 15  0   1 1 1 2 2   17   17 17    0    0 1 1   1  ",
    ),
    "root quotient with remainder": (
        "<problem> 9 6 4 / 6 4 = <think> <call> 4 6 9 / 4 6 </call> 5 1 R 4 </think> 1 5 R 4 <eos>",
        "     4    3 2 1 3 2 1 0    1      0    1 2 3 0 1 2    0    1 2 0 1     3    2 1 2 1   2  ",
        "     1    1 1 1 2 2 2 2    2      0    1 1 1 1 2 2   17  17 17 17 17   0    1 1 1 2   2  ",
    ),
    "two calls": (
        "<subtask> 7 4 * 6 8 = <think> <call> 7 4 * 6 </call> 2 8 2 ; <call> 7 4 * 8 </call> 6 7 3",
        "     0    1 2 3 1 2 3    1      0    1 2 0 1    0    1 2 3 0    0   1 2 0 1    0    1 2 3",
        "     0    1 1 1 2 2 2    2      0    1 1 1 2   17 17 17 17 3    0   1 1 1 2   18 18 18 18",
    ),
    "comparison": (
        "<subtask> compare 3 2 , 4 2 1 = <think> < == < </think> < <eos>",
        "     0       0    1 2 3 1 2 3 4    1    2 3  4    0     0   0  ",
        "     0       0    1 1 1 2 2 2 2    2    2 2  2    0     0   0  ",
    ),
    "root in words": (
        "<problem> what is 9 8 plus 4 5 ? = <think>",
        "     0     0    3 2 1   3  2 1 0 0    1   ",
        "     0     0    1 1 1   2  2 2 2 2    2   ",
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_places_and_roles_are_those_computed_by_hand(name: str) -> None:
    tokens, places, roles = FRAMES[name]
    place, role, _ = coordinates(th.tensor([ids(tokens)]))
    assert place[0].tolist() == [int(word) for word in places.split()]
    assert role[0].tolist() == [int(word) for word in roles.split()]


def test_an_expression_that_is_handed_on_runs_parallel_to_its_source() -> None:
    frame = "<subtask> 9 + 8 * 2 - 5 = <think> <call> 8 * 2 </call> 6 1 ; <goto> 9 + 6 1 - 5 ="
    offsets = "0       1 2 3 4 5 6 7 8 0       0      1 2 3 0       1 2 0 0      1 2 3 4 5 6 7"
    assert coordinates(th.tensor([ids(frame)])).offset[0].tolist() == [int(word) for word in offsets.split()]


def test_frames_in_one_batch_do_not_influence_each_other() -> None:
    frames = [ids(tokens) for tokens, _, _ in FRAMES.values()]
    together = th.zeros((len(frames), max(map(len, frames))), dtype=th.long)
    for row, frame in zip(together, frames, strict=True):
        row[: len(frame)] = th.tensor(frame)
    found = coordinates(together)
    for row, frame in enumerate(frames):
        alone = coordinates(th.tensor([frame]))
        for among, each in zip(found, alone, strict=True):
            assert among[row, : len(frame)].tolist() == each[0].tolist()


def random_frame(root: bool, rng: np.random.Generator, length: int) -> list[int]:
    """A prompt and a random walk through the grammar, injected answers included."""
    grammar = Grammar()
    frame = ids("<problem> 1 2 3 + 4 5 =" if root else "<subtask> 3 2 1 - 5 4 =")
    state = grammar.run(frame)
    while len(frame) < length and grammar.legal[state].any():
        token = int(rng.choice(np.flatnonzero(grammar.legal[state])))
        injected = ids(" ".join(rng.choice(DIGITS, 2))) if token == ids("</call>")[0] else []
        frame += [token, *injected]
        state = grammar.run([token, *injected], state)
    return frame


@settings(max_examples=60, deadline=None)
@given(root=st.booleans(), seed=st.integers(0, 2**31), length=st.integers(12, 60))
def test_nothing_behind_the_prompt_looks_ahead(root: bool, seed: int, length: int) -> None:
    frame = random_frame(root, np.random.default_rng(seed), length)
    whole = coordinates(th.tensor([frame]))
    for stop in range(8, len(frame) + 1):
        for prefix, each in zip(coordinates(th.tensor([frame[:stop]])), whole, strict=True):
            assert prefix[0].tolist() == each[0, :stop].tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=80))
def test_any_tokens_have_coordinates_within_the_tables(tokens: list[int]) -> None:
    place, role, offset = coordinates(th.tensor([tokens]))
    assert 0 <= int(offset.min()) and int(offset.max()) < len(tokens)
    assert 0 <= int(place.min()) and int(place.max()) <= len(tokens) + 1
    assert 0 <= int(role.min()) and int(role.max()) < NUM_ROLES


def test_places_do_not_depend_on_how_long_the_other_operand_is() -> None:
    short, long = (coordinates(th.tensor([ids(text)]))[0][0].tolist() for text in (
        "<problem> 7 + 4 5 6 =", "<problem> 1 2 3 4 5 7 + 4 5 6 =",
    ))  # fmt: skip
    assert short[1:2] == long[6:7] == [1]
    assert short[3:6] == long[8:11] == [3, 2, 1]
