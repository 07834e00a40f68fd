"""The block cache counts the users of every block, loses none, and shared prefixes give exact results."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from o1nano.envs.errors import ConfigurationError
from o1nano.policies.decoding.block_cache import BlockCache
from o1nano.policies.decoding.block_loops import SLACK
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.decoding.layout import BLOCK
from tests.helpers.tiny import TINY, assert_same, full_pass, ids, padded, tiny_network

LENGTH = 64


def frames_in(decoder: Decoder) -> list[tuple[int, int]]:
    """Index and length of all open frames."""
    state = decoder.cache.state
    found = [frame for row, depth in enumerate(state.depths) for frame in state.stacks[row, :depth]]
    assert len(set(found)) == len(found)
    return [(int(frame), int(state.lengths[frame])) for frame in found]


def assert_accounts_agree(decoder: Decoder) -> None:
    """Every block is either free or has as many users as there are frames with it. Every frame is free or open."""
    state = decoder.cache.state
    open_frames = frames_in(decoder)
    for group in range(len(state.windows)):
        users = np.zeros(decoder.cache.blocks, dtype=int)
        for frame, length in open_frames:
            blocks = state.tables[group, frame, : -(-length // BLOCK)]
            assert state.windows[group] or (blocks >= 0).all()
            assert (state.tables[group, frame, -(-length // BLOCK) :] == -1).all()
            np.add.at(users, blocks[blocks >= 0], 1)
        assert users.tolist() == state.users[group].tolist()
        free = state.free_blocks[group, : state.num_free[group]].tolist()
        assert sorted(free) == np.flatnonzero(users == 0).tolist()
    free = state.free_frames[: state.num_free[-1]].tolist()
    assert sorted([*free, *(frame for frame, _ in open_frames)]) == list(range(len(state.lengths)))


def random_frames(rng: np.random.Generator, count: int) -> list[list[int]]:
    """Frames that have beginnings in common, some of them with a call that is open."""
    context = ids("1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0")
    frames = []
    for _ in range(count):
        frame = ids(rng.choice(["<problem>", "<subtask>"])) + context[: rng.integers(1, 40)]
        if rng.random() < 0.9:
            frame += ids(rng.choice(["+ 1 =", "- 2 = <think> 3", "= <think> <call> 4 + 5 </call>"]))
        frames.append(frame)
    return frames


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.sampled_from([1, 3, 12]), windows=st.sampled_from([(), (0, 20), (5, 5)]))
def test_whatever_is_shown_the_accounts_agree_and_results_are_exact(
    seed: int, rows: int, windows: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    network = tiny_network(windows=windows)
    decoder = Decoder(network, rows, LENGTH)
    decoder.cache.blocks = 1
    decoder.cache.clear()  # so little that more must be made
    pool = random_frames(rng, 6)
    shown: list[list[int]] = [[] for _ in range(rows)]
    for _ in range(12):
        for row in range(rows):
            what = rng.random()
            if what < 0.5:
                shown[row] = [*shown[row], *rng.integers(1, 11, rng.integers(0, 4)).tolist()][:LENGTH]
            elif what < 0.9:
                shown[row] = pool[rng.integers(len(pool))]
            else:
                shown[row] = []
                decoder.clear(row)
        observations = padded(shown, LENGTH)
        log_probs, values = decoder.step(observations)
        full = [row for row in range(rows) if shown[row]]
        if full:
            assert_same((log_probs[full], values[full]), full_pass(network, observations[full]))
        assert_accounts_agree(decoder)


def test_a_call_keeps_its_callers_blocks_and_returning_frees_the_childs() -> None:
    decoder = Decoder(tiny_network(), 1, LENGTH)
    parent = ids("<problem> 1 2 3 + 4 5 6 = <think> <call> 3 2 1 + 6 5 4")
    decoder.step(padded([parent], LENGTH))
    assert decoder.cache.used.tolist() == [2]
    decoder.step(padded([ids("<subtask> 3 2 1 + 6 5 4 = <think>")], LENGTH))
    assert decoder.cache.used.tolist() == [3]
    computed = decoder.computed
    decoder.step(padded([[*parent, *ids("</call> 9 7 5")]], LENGTH))
    assert decoder.computed == computed + 4
    assert decoder.cache.used.tolist() == [2]


def test_a_tail_call_takes_the_place_of_its_frame() -> None:
    decoder = Decoder(tiny_network(), 1, LENGTH)
    decoder.step(padded([ids("<subtask> 1 + 2 + 3 = <think> <goto> 3 + 3")], LENGTH))
    decoder.step(padded([ids("<subtask> 3 + 3 =")], LENGTH))
    assert [length for _, length in frames_in(decoder)] == [5]
    assert decoder.cache.used.tolist() == [1]


@pytest.mark.parametrize("rows", [4, 24])
def test_attempts_at_one_problem_share_the_blocks_of_its_prompt(rows: int) -> None:
    network = tiny_network()
    prompt = ids("<problem> 9 9 9 9 9 9 9 9 9 * 9 9 9 9 9 9 9 9 9 =")
    decoder, shown = Decoder(network, rows, LENGTH), padded([prompt] * rows, LENGTH)
    assert_same(decoder.step(shown), full_pass(network, shown))
    assert decoder.shared == (rows - 1) * BLOCK
    assert decoder.computed == rows * len(prompt) - decoder.shared
    assert decoder.cache.used.tolist() == [1 + rows]
    shown[:, len(prompt)] = ids("<think>")
    assert_same(decoder.step(shown), full_pass(network, shown))


@pytest.mark.parametrize("compiled", [True, False])
def test_questions_on_one_context_compute_it_once(compiled: bool) -> None:
    network = tiny_network()
    context = [*ids("<subtask> total"), *np.random.default_rng(0).integers(1, 11, 200).tolist()]
    decoder = Decoder(network, 1, 256, compiled=compiled)
    for question in ("+ 1 =", "- 2 2 =", "* 3 ="):
        shown = padded([[*context, *ids(question)]], 256)
        decoder.clear(0)
        assert_same(decoder.step(shown), full_pass(network, shown))
    assert decoder.shared == 2 * (len(context) // BLOCK * BLOCK)


def test_a_root_shares_no_number_whose_end_has_moved() -> None:
    network = tiny_network()
    decoder = Decoder(network, 1, 256)
    for digits in (40, 60, 59, 61):
        shown = padded([[*ids("<problem> 1 +"), *ids("7") * digits, *ids("=")]], 256)
        assert_same(decoder.step(shown), full_pass(network, shown))
    assert decoder.shared == 0


def test_a_quotient_shares_no_number_whose_columns_have_moved() -> None:
    network = tiny_network(positions="aligned")
    decoder = Decoder(network, 1, 256)
    for rest in ("+ 2 =", "/ 2 =", "/ 2 2 =", "- 3 ="):
        shown = padded([[*ids("<subtask>"), *ids("7") * 40, *ids(rest)]], 256)
        assert_same(decoder.step(shown), full_pass(network, shown))
    assert decoder.shared == 0


def test_blocks_that_no_window_reaches_are_given_back() -> None:
    length = 3 * SLACK
    network = tiny_network(windows=(8, 0))
    decoder = Decoder(network, 1, length, tokens=100)
    row = np.random.default_rng(0).integers(1, 11, (1, length)).astype(np.uint8)
    row[0, 0], row[0, 20] = ids("<subtask> =")
    assert_same(decoder.step(row), full_pass(network, row), 1e-4)
    windowed, full = sorted(decoder.cache.used.tolist())
    assert full == length // BLOCK
    assert windowed <= (8 + SLACK + 100) // BLOCK + 2


def test_a_decoder_that_is_cleared_has_no_block_in_use() -> None:
    decoder = Decoder(tiny_network(), 3, LENGTH)
    decoder.step(padded([ids("<problem> 1 + 2 =")] * 3, LENGTH))
    decoder.reload()
    assert decoder.cache.used.tolist() == [0]
    assert_accounts_agree(decoder)


def test_memory_is_what_is_stored() -> None:
    decoder = Decoder(tiny_network(), 1, 1000)
    row = np.random.default_rng(0).integers(1, 11, (1, 1000)).astype(np.uint8)
    row[0, 0], row[0, 980] = ids("<problem> =")
    decoder.step(row)
    token = TINY.layers * 2 * TINY.embedding * 4
    assert 1000 * token <= decoder.bytes <= (1000 + BLOCK) * token
    half = Decoder(tiny_network(), 1, 1000, half=True)
    half.step(row)
    assert half.bytes == decoder.bytes / 2


def test_clearing_nothing_is_no_error() -> None:
    cache = BlockCache(2, LENGTH, (0,), 4)
    cache.clear()
    assert cache.used.tolist() == [0]


def test_a_frame_longer_than_the_decoder_is_refused() -> None:
    decoder = Decoder(tiny_network(), 1, 16)
    with pytest.raises(ConfigurationError, match=r"\(1, 17\).*expected \(1, 16\)"):
        decoder.step(np.zeros((1, 17), dtype=np.uint8))
    assert th.is_tensor(decoder.step(np.zeros((1, 16), dtype=np.uint8))[0])
