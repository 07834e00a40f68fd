"""Long contexts: windows, blocks and chunks change how attention is computed, never its result."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch as th

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID, VOCAB_SIZE
from o1nano.policies.decoding import compiled_forward, prefill
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.network.attention_kernels import (
    banded_attention,
    causal_mask,
    chunked_attention,
    fused_attention,
    masked_attention,
)
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import assert_same, full_pass, hidden_states, tiny_network

LAYERS: list[dict[str, Any]] = [
    {},
    {"windows": (5, 0), "positions": "local"},
    {"windows": (0, 7), "positions": "local_places", "log_length": 16},
    {"positions": "coupled"},
    {"positions": "aligned"},
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
    for other in (banded_attention(queries, keys, values, window), fused_attention(queries, keys, values, mask)):
        assert th.allclose(other, masked_attention(queries, keys, values, mask), atol=1e-5)
    assert (mask == 0).sum(1).tolist() == [min(window, past + at + 1) for at in range(length)]


@pytest.mark.parametrize("length", [1, 7, 40])  # below and above what the fused kernel takes
@pytest.mark.parametrize("cuts", [[], [5], [4, 9, 20]])
def test_blocks_put_together_are_a_mask(length: int, cuts: list[int]) -> None:
    past = 30
    queries, keys, values = tensors(length, past + length)
    bounds = [0, *cuts, past]
    blocks = [(keys[:, :, a:b], values[:, :, a:b]) for a, b in pairwise(bounds)]
    together = chunked_attention(queries, blocks, (keys[:, :, past:], values[:, :, past:]))
    mask = causal_mask(length, past + length, 0, th.device("cpu"))
    assert th.allclose(together, masked_attention(queries, keys, values, mask), atol=1e-5)


def frames_of(length: int, prompt: int, seed: int = 1) -> np.ndarray:
    """A root with a long prompt and some thinking."""
    rng = np.random.default_rng(seed)
    row = rng.integers(1, 11, length)
    row[0], row[prompt], row[prompt + 1] = ID["<problem>"], ID["="], ID["<think>"]
    row[5:prompt:7] = ID[","]
    return row[None].astype(np.uint8)


@pytest.mark.parametrize("changes", LAYERS)
@pytest.mark.parametrize("tokens", [7, 70, 512])  # below and above what the fused kernel takes
@pytest.mark.parametrize("compiled", [True, False])
def test_prefill_and_decoding_are_the_plain_forward(changes: dict[str, Any], tokens: int, compiled: bool) -> None:
    network, rows = tiny_network(**changes), frames_of(300, 250)
    decoder = Decoder(network, 1, 300, compiled=compiled, tokens=tokens)
    for length in (251, 252, 253, 270, 271, 300):
        shown = rows.copy()
        shown[:, length:] = 0
        assert_same(decoder.step(shown), full_pass(network, shown), 2e-5)


@pytest.mark.parametrize("changes", [{}, {"windows": (40, 0), "positions": "local"}])
@pytest.mark.parametrize("lengths", [[290], [290, 5, 18], [40, 41, 50, 60, 33, 40, 41, 50, 60, 33, 7]])
def test_threads_share_many_keys(
    changes: dict[str, Any], lengths: list[int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame, a long frame beside short ones, and many frames of similar length are divided differently."""
    monkeypatch.setattr(compiled_forward, "MANY_KEYS", 100)
    network = tiny_network(**changes)
    rows = np.zeros((len(lengths), 300), dtype=np.uint8)
    decoder = Decoder(network, len(lengths), 300)
    for more in range(3):
        for row, length in zip(rows, lengths, strict=True):
            row[: length + more] = frames_of(300, 3)[0, : length + more]
        assert_same(decoder.step(rows), full_pass(network, rows), 2e-5)


def test_a_long_prompt_attends_to_pieces_of_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "KEY_CHUNK", 48)
    monkeypatch.setattr(prefill, "WINDOW_CHUNK", 30)
    for changes in ({}, {"windows": (40, 0), "positions": "local"}):
        network, rows = tiny_network(**changes), frames_of(300, 280)
        assert_same(Decoder(network, 1, 300, tokens=64).step(rows), full_pass(network, rows))


@pytest.mark.parametrize("changes", LAYERS)
def test_many_questions_on_one_context(changes: dict[str, Any]) -> None:
    """Questions of different length on the same context, back and forth, further back than windows are kept."""
    network, rows = tiny_network(**changes), frames_of(150, 120)
    decoder = Decoder(network, 1, 150, tokens=32)
    decoder.step(rows)
    for seed, at in enumerate((118, 110, 119, 100, 20, 60, 115)):
        other = rows.copy()
        other[:, at:119] = frames_of(150, 120, seed + 2)[:, at:119]
        for _ in range(2):  # the same frame twice, too
            assert_same(decoder.step(other), full_pass(network, other), 2e-5)
    assert decoder.shared > 300


@th.no_grad()
def test_a_window_hides_what_is_further_back() -> None:
    tokens = th.from_numpy(frames_of(60, 4).astype(np.int64))
    changed = tokens.clone()
    changed[:, 20] = changed[:, 20] % 10 + 1
    for windows, reach in (((4, 4), 20 + 2 * 3), ((4, 0), 59)):
        network: ReasoningNetwork = tiny_network(windows=windows, positions="local", roles=False)
        far = (hidden_states(network.trunk, tokens) - hidden_states(network.trunk, changed)).abs().amax(2)[0] > 1e-6
        assert far.nonzero().max() == reach
    assert VOCAB_SIZE > tokens.max()


@th.no_grad()
def test_attention_is_sharpened_beyond_the_trained_length_only() -> None:
    tokens = th.from_numpy(frames_of(60, 50).astype(np.int64))
    plain, sharp = (
        hidden_states(tiny_network(positions="none", log_length=length).trunk, tokens)[0] for length in (0, 32)
    )
    assert th.equal(plain[:32], sharp[:32])
    assert not th.allclose(plain[40:], sharp[40:], atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"windows": (3,)}, {"windows": (3, -1)}, {"rotary_base": 1.0}, {"log_length": 1}, {"log_length": -2}]
)
def test_senseless_long_configurations_are_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"{next(iter(changes))}=.*expected"):
        tiny_network(**changes)
