"""Tiny networks and scripted play that the tests of the policy and the agent share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EOS, EQUALS, GOTO, ID, THINK, VOCAB_SIZE
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.network.frame_batch import pack_frames
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import Transformer, TransformerConfig

TINY = TransformerConfig(embedding=32, heads=4, layers=2, feed_forward=64, dropout=0.0)
TOLERANCE = 1e-5
SMALL_ENV: dict[str, Any] = {"digits": (1, 2), "frame_length": 48, "depth": 4, "max_tokens": 120, "obs_dtype": "uint8"}


def ids(text: str) -> list[int]:
    """Token ids of space-separated tokens, as ``spell`` writes them."""
    return [ID[token] for token in text.split()]


def shake(network: th.nn.Module, seed: int = 0, size: float = 0.1) -> None:
    """Adds noise to every parameter: a fresh network is near uniform and values everything at 0."""
    generator = th.Generator().manual_seed(seed)
    with th.no_grad():
        for parameter in network.parameters():
            parameter += size * th.randn(parameter.shape, generator=generator)


def tiny_network(seed: int = 0, grammar: Grammar | None = None, **changes: Any) -> ReasoningNetwork:
    """A shaken network in evaluation mode, always the same for a seed."""
    with th.random.fork_rng():
        th.manual_seed(seed)
        network = ReasoningNetwork(replace(TINY, **changes), grammar or Grammar())
    shake(network, seed)
    return network.eval()


def padded(frames: list[list[int]], length: int | None = None) -> npt.NDArray[np.uint8]:
    """Frames as zero-padded rows."""
    rows = np.zeros((len(frames), length or max(map(len, frames))), dtype=np.uint8)
    for row, frame in zip(rows, frames, strict=True):
        row[: len(frame)] = frame
    return rows


@th.no_grad()
def full_pass(network: ReasoningNetwork, rows: npt.NDArray[Any]) -> tuple[th.Tensor, th.Tensor]:
    """What follows each row, by one causal pass over whole rows."""
    lengths = np.maximum((rows != 0).sum(1), 1)
    frames = [row[:length].astype(np.uint8) for row, length in zip(rows, lengths, strict=True)]
    return network(pack_frames(frames, [np.array([length - 1]) for length in lengths], network.grammar, "cpu"))


def hidden_states(trunk: Transformer, tokens: th.Tensor) -> th.Tensor:
    """Hidden states ``[B, T, D]`` of frames ``[B, T]`` of one length."""
    rows = list(tokens.numpy().astype(np.uint8))
    nowhere = [np.empty(0, dtype=np.intp)] * len(rows)
    return trunk(pack_frames(rows, nowhere, Grammar(), "cpu")).view(*tokens.shape, -1)


def assert_same(
    out: tuple[th.Tensor, th.Tensor], expected: tuple[th.Tensor, th.Tensor], tolerance: float = TOLERANCE
) -> None:
    """Compares what a decoder returns with what a full pass does."""
    legal = expected[0].isfinite()
    assert th.equal(out[0].isfinite(), legal)
    assert (out[0] - expected[0])[legal].abs().max() < tolerance
    assert (out[1] - expected[1]).abs().max() < tolerance


# A random agent finds its way through a frame more often if it likes the tokens that lead out of it.
_LIKES = np.ones(VOCAB_SIZE)
_LIKES[[THINK, CALL, END_CALL, END_THINK, EOS, GOTO, EQUALS]] = 6


def random_legal(masks: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """One random legal token for every row of masks."""
    weights = np.where(masks.any(1, keepdims=True), masks, True) * _LIKES
    return np.array([rng.choice(VOCAB_SIZE, p=row / row.sum()) for row in weights])


def vec_env(num_envs: int, **changes: Any) -> GymnasiumVecEnv:
    """A small vector environment as Stable-Baselines3 sees it."""
    env = ArithmeticVectorEnv(num_envs, autoreset_mode="SameStep", **{**SMALL_ENV, **changes})
    return GymnasiumVecEnv(env)
