"""Long contexts: windows, blocks and chunks change how attention is computed, never what it gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID, VOCAB_SIZE
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, draw
from o1nano.policies.decoding.block_cache import BlockCache
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.decoding.long_decoder import LongDecoder
from o1nano.policies.network.attention_kernels import attend_blocks, banded, causal_mask, fused, masked
from o1nano.policies.network.digit_positions import coordinates, further_coordinates
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import TINY, full_pass, ids, padded, random_legal, tiny_network

LAYERS: list[dict[str, Any]] = [
    {},
    {"windows": (5, 0), "positions": "local"},
    {"windows": (0, 7), "positions": "local_places", "log_length": 16},
    {"positions": "coupled"},
    {"windows": (3, 40), "positions": "rotary", "rotary_base": 500.0},
    {"positions": "sinusoidal", "roles": False},
]


def tensors(length: int, keys: int, seed: int = 0) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(seed)
    shapes = (length, keys, keys)
    return tuple(th.randn(2, 3, size, 4, generator=generator) for size in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize("length", [1, 8, 13])
@pytest.mark.parametrize("past", [0, 1, 8])
def test_bands_are_a_mask(window: int, length: int, past: int) -> None:
    past = min(past, window)
    queries, keys, values = tensors(length, past + length)
    mask = causal_mask(length, past + length, window, th.device("cpu"))
    for other in (banded(queries, keys, values, window), fused(queries, keys, values, mask)):
        assert th.allclose(other, masked(queries, keys, values, mask), atol=1e-5)
    assert (mask == 0).sum(1).tolist() == [min(window, past + at + 1) for at in range(length)]


@pytest.mark.parametrize("length", [1, 7, 40])  # below and above what the fused kernel takes
@pytest.mark.parametrize("cuts", [[], [5], [4, 9, 20]])
def test_blocks_put_together_are_a_mask(length: int, cuts: list[int]) -> None:
    past = 30
    queries, keys, values = tensors(length, past + length)
    bounds = [0, *cuts, past]
    blocks = [(keys[:, :, a:b], values[:, :, a:b]) for a, b in pairwise(bounds)]
    together = attend_blocks(queries, blocks, (keys[:, :, past:], values[:, :, past:]))
    mask = causal_mask(length, past + length, 0, th.device("cpu"))
    assert th.allclose(together, masked(queries, keys, values, mask), atol=1e-5)


def frames_of(length: int, prompt: int, seed: int = 1) -> np.ndarray:
    """A root with a long prompt and some thinking."""
    rng = np.random.default_rng(seed)
    row = rng.integers(1, 11, length)
    row[0], row[prompt], row[prompt + 1] = ID["<problem>"], ID["="], ID["<think>"]
    row[5:prompt:7] = ID[","]
    return row[None].astype(np.uint8)


@th.no_grad()
@pytest.mark.parametrize("changes", LAYERS)
@pytest.mark.parametrize(("chunk", "block"), [(64, 16), (7, 16), (512, 4096)])
def test_prefill_and_decoding_are_the_plain_forward(changes: dict[str, Any], chunk: int, block: int) -> None:
    network, rows = tiny_network(**changes), frames_of(150, 120)
    decoder = LongDecoder(network, chunk, block)
    for length in (121, 122, 123, 140, 141, 150):
        shown = rows.copy()
        shown[:, length:] = 0
        for ours, plain in zip(decoder.step(shown), full_pass(network, shown), strict=True):
            assert th.allclose(ours, plain, atol=2e-5)


@pytest.mark.parametrize("text", ["recall", "ledger"])
@pytest.mark.parametrize("length", [200, 700, 3000])
def test_coordinates_behind_a_long_prompt_need_its_end_only(text: str, length: int) -> None:
    tokens = th.tensor([demonstrate(draw(Level(text, 2, length), np.random.default_rng(0), "all"))[0].tokens])
    whole = th.cat(coordinates(tokens))
    prompt = tokens[0].tolist().index(ID["="])
    for known in (prompt + 1, prompt + 2, prompt + 9, prompt + 30, tokens.shape[1] - 1):
        found = further_coordinates(tokens, whole[:, :known], prompt)
        assert found.tolist() == whole.tolist()


def test_a_prompt_of_few_long_numbers_is_gone_through_again() -> None:
    tokens = th.tensor([[ID["<problem>"], *[2] * 400, ID["+"], *[3] * 300, *ids("= <think> 1 2 ; <call> 4 + 5")]])
    whole = th.cat(coordinates(tokens))
    assert further_coordinates(tokens, whole[:, :703], 702).tolist() == whole.tolist()


@th.no_grad()
@pytest.mark.parametrize("changes", LAYERS)
def test_many_questions_behind_one_context(changes: dict[str, Any]) -> None:
    """Questions of different length behind the same context, back and forth, further back than windows are kept."""
    network, rows = tiny_network(**changes), frames_of(150, 120)
    decoder = LongDecoder(network, 32, 16)
    decoder.step(rows)
    first = decoder.frames[0].cache
    for seed, at in enumerate((118, 110, 119, 100, 20, 60, 115)):
        other = rows.copy()
        other[:, at:119] = frames_of(150, 120, seed + 2)[:, at:119]
        for _ in range(2):  # the same frame twice, too
            for ours, plain in zip(decoder.step(other), full_pass(network, other), strict=True):
                assert th.allclose(ours, plain, atol=2e-5)
    assert decoder.frames[0].cache is first and len(decoder.frames) == 1


@pytest.mark.parametrize("changes", LAYERS[:3])
def test_it_follows_a_call_stack_as_the_decoder_of_short_frames_does(changes: dict[str, Any]) -> None:
    network = tiny_network(**changes)
    env = ArithmeticEnv(digits=(1, 2), frame_length=48, depth=4, max_tokens=120, obs_dtype="uint8")
    long, short, rng = LongDecoder(network, 8, 16), Decoder(network, 1, 48), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    deepest = 0
    for _ in range(250):
        for ours, theirs in zip(long.step(observation[None]), short.step(observation[None]), strict=True):
            assert th.allclose(ours, theirs, atol=2e-5)
        deepest = max(deepest, len(long.frames))
        observation, _, terminated, _, _ = env.step(random_legal(env.action_masks()[None], rng)[0])
        if terminated:
            observation, _ = env.reset()
    assert deepest >= 3


@th.no_grad()
def test_flat_decoding_sees_all_frames_one_behind_the_other() -> None:
    """Without positions and roles that is one long frame: the plain forward of all tokens in the order they came."""
    network = tiny_network(positions="none", roles=False)
    env = ArithmeticEnv(digits=(1, 2), frame_length=48, depth=4, max_tokens=120, obs_dtype="uint8")
    decoder, rng = LongDecoder(network, 8, 16, flat=True), np.random.default_rng(1)
    observation, _ = env.reset(seed=3)
    written: list[int] = []
    frames: list[int] = [0] * 4  # lengths when they were seen last
    calls = 0
    for _ in range(300):
        stacks = env.episodes.stacks
        depth, frame = int(stacks.depth[0]), observation[observation > 0].tolist()
        if depth + 1 > len(frames) or frames[depth] >= len(frame):
            frames[depth:] = [0] * (4 - depth)
        written += frame[frames[depth] :]
        frames[depth:] = [len(frame), *[0] * (3 - depth)]
        calls += depth
        hidden = network.trunk(th.tensor([written]))[:, -1]
        state = th.tensor([network.grammar.run(frame)])
        assert th.allclose(decoder.step(observation[None])[0], network.heads.log_probs(hidden, state), atol=2e-5)
        assert {frame.cache.length for frame in decoder.frames} == {len(written)}
        observation, _, terminated, _, _ = env.step(random_legal(env.action_masks()[None], rng)[0])
        if terminated:
            observation, _ = env.reset()
            written, frames = [], [0] * 4
    assert calls > 20


def test_a_change_of_weights_is_noticed() -> None:
    network, row = tiny_network(), padded([ids("<problem> 1 + 2 = <think>")])
    decoder = LongDecoder(network)
    decoder.step(row)
    with th.no_grad():
        network.trunk.tokens.weight += 0.1
        assert th.allclose(decoder.step(row)[0], full_pass(network, row)[0], atol=2e-5)


def test_memory_is_what_is_stored_and_windows_are_bounded() -> None:
    full, recent = (tiny_network(windows=windows) for windows in ((), (8, 8)))
    sizes = []
    for network in (full, recent):
        decoder = LongDecoder(network, 64, 64)
        decoder.step(frames_of(1000, 980))
        sizes.append(decoder.bytes)
    token = TINY.layers * 2 * TINY.embedding * 4
    assert 1000 * token <= sizes[0] <= (1000 + 64) * token
    assert sizes[1] <= (8 + 8) * token


def test_a_cache_that_is_shortened_too_far_starts_again() -> None:
    cache = BlockCache(TINY, th.device("cpu"))
    cache.length = 9
    cache.shorten(12)
    assert cache.length == 9
    cache.shorten(4)
    assert cache.length == 4


@th.no_grad()
def test_a_window_hides_what_is_further_back() -> None:
    tokens = th.from_numpy(frames_of(60, 4).astype(np.int64))
    changed = tokens.clone()
    changed[:, 20] = changed[:, 20] % 10 + 1
    for windows, reach in (((4, 4), 20 + 2 * 3), ((4, 0), 59)):
        network: ReasoningNetwork = tiny_network(windows=windows, positions="local", roles=False)
        far = (network.trunk(tokens) - network.trunk(changed)).abs().amax(2)[0] > 1e-6
        assert far.nonzero().max() == reach
    assert VOCAB_SIZE > tokens.max()


@th.no_grad()
def test_attention_is_sharpened_beyond_the_trained_length_only() -> None:
    tokens = th.from_numpy(frames_of(60, 50).astype(np.int64))
    plain, sharp = (tiny_network(positions="none", log_length=length).trunk(tokens)[0] for length in (0, 32))
    assert th.equal(plain[:32], sharp[:32])
    assert not th.allclose(plain[40:], sharp[40:], atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"windows": (3,)}, {"windows": (3, -1)}, {"rotary_base": 1.0}, {"log_length": 1}, {"log_length": -2}]
)
def test_senseless_long_configurations_are_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"{next(iter(changes))}=.*accepted"):
        tiny_network(**changes)
