"""A network as decoding reads it: weights as contiguous arrays, and tables of what does not change with them."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Channel
from o1nano.policies.decoding.kernels import NONE, OFFSET, PLACE, TIME, Floats, Ints
from o1nano.policies.network.frame_scan import NUM_ROLES
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.rope import OFFSET_POWER, place_frequencies, time_frequencies
from o1nano.policies.network.transformer import TransformerConfig


class Weights(NamedTuple):
    """All weights, contiguous, inputs first; norms and what is added before them in the order of the pass.

    Shapes: D embedding, F hidden layer, C channels, V vocabulary.
    """

    tokens: Floats  # [V, D]
    roles: Floats  # [NUM_ROLES, D]
    frequencies: Floats  # [D / 2] of sinusoids, or none
    qkv: Floats  # [layers, D, 3 * D]
    mixed: Floats  # [layers, D, D]
    hidden: Floats  # [layers, D, F]
    hidden_bias: Floats  # [layers, F]
    change: Floats  # [layers, F, D]
    added: Floats  # [2 * layers + 1, D]
    gain: Floats  # [2 * layers + 1, D]
    shift: Floats  # [2 * layers + 1, D]
    heads: Floats  # [D, C * V]
    heads_bias: Floats  # [C * V]
    critic: Floats  # [D, D]
    critic_bias: Floats  # [D]
    value: Floats  # [D]
    value_bias: Floats  # [1]


class Products(NamedTuple):
    """The weights of matrix products, as tensors in the precision in which many tokens are computed."""

    qkv: th.Tensor
    mixed: th.Tensor
    hidden: th.Tensor
    change: th.Tensor
    heads: th.Tensor
    critic: th.Tensor


class Shape(NamedTuple):
    """What does not change with the weights.

    Attributes:
        turns: ``[8, positions, K]`` see ``kernels.rotate_and_store``.
        kinds: ``[layers, 2]`` kinds of position by which even and odd heads are rotated.
        windows: ``[layers]`` tokens that are seen; 0: all.
        groups: ``[layers]`` which table of blocks is theirs.
        growth: ``[layers]`` 1 / log(``log_length``) of ``TransformerConfig`` where that is set, otherwise 0.
        legal: ``[NUM_STATES, V]``.
        channel: ``[NUM_STATES]``.
    """

    turns: Floats
    kinds: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    growth: npt.NDArray[np.float64]
    legal: npt.NDArray[np.bool_]
    channel: Ints


@th.no_grad()
def pack(network: ReasoningNetwork) -> Weights:
    """Copies the weights of a network."""
    trunk, heads, config = network.trunk, network.heads, network.config
    width = config.embedding
    blocks: list[Any] = list(trunk.blocks)
    critic: Any = heads.value
    none = th.zeros(0, width)

    def stacked(*parameters: th.Tensor) -> Floats:
        return th.stack([parameter.float().cpu() for parameter in parameters]).contiguous().numpy()

    norms = [norm for block in blocks for norm in (block.norm_attention, block.norm_feed_forward)] + [trunk.norm]
    biases = [block.feed_forward[2].bias for block in blocks]
    added = np.zeros((len(norms), width), dtype=np.float32)
    added[2::2] = stacked(*biases)
    decoders = {
        Channel.REASONING: heads.reasoning,
        Channel.COMPLETION: heads.completion,
        Channel.SUBTASK: heads.subtask,
    }
    sinusoidal = config.positions == "sinusoidal"
    frequencies = time_frequencies(width, th.device("cpu")) if sinusoidal else none[:0, 0]
    return Weights(
        tokens=trunk.tokens.weight.float().cpu().contiguous().numpy().copy(),
        roles=(trunk.roles.weight if config.roles else th.zeros(NUM_ROLES, width)).float().cpu().numpy().copy(),
        frequencies=frequencies.numpy().astype(np.float32),
        qkv=stacked(*(block.attention.qkv_proj.weight.T for block in blocks)),
        mixed=stacked(*(block.attention.out_proj.weight.T for block in blocks)),
        hidden=stacked(*(block.feed_forward[0].weight.T for block in blocks)),
        hidden_bias=stacked(*(block.feed_forward[0].bias for block in blocks)),
        change=stacked(*(block.feed_forward[2].weight.T for block in blocks)),
        added=added,
        gain=stacked(*(norm.weight for norm in norms)),
        shift=stacked(*(norm.bias for norm in norms)),
        heads=th.cat([decoders[channel].weight.float().cpu().T for channel in Channel], dim=1).contiguous().numpy(),
        heads_bias=np.concatenate([stacked(decoders[channel].bias)[0] for channel in Channel]),
        critic=stacked(critic[0].weight.T)[0],
        critic_bias=stacked(critic[0].bias)[0],
        value=stacked(critic[2].weight[0])[0],
        value_bias=stacked(critic[2].bias)[0],
    )


def products_of(weights: Weights, bf16: bool, device: th.device | None = None) -> Products:
    """Returns the weights of matrix products as tensors.

    Args:
        weights: All weights.
        bf16: Whether in bfloat16; otherwise the tensors share the memory of the arrays.
        device: Where they are needed; by default on the CPU.
    """
    dtype = th.bfloat16 if bf16 else th.float32
    tensors = (th.from_numpy(getattr(weights, name)) for name in Products._fields)
    return Products(*(tensor.to(device, dtype) for tensor in tensors))


def shape_of(network: ReasoningNetwork, positions: int) -> Shape:
    """Returns what the pass must know besides the weights.

    Args:
        network: The network.
        positions: How many places, offsets and times there may be.
    """
    config = network.config
    width = config.embedding // config.heads
    kinds = np.array([_kinds(config, config.window(layer)) for layer in range(config.layers)])
    turns = np.zeros((NONE + 1, positions, width), dtype=np.float32)
    cpu = th.device("cpu")
    by_time = time_frequencies(width, cpu, config.rotary_base)
    by_place, by_offset = place_frequencies(width, cpu), place_frequencies(width, cpu, OFFSET_POWER)
    for kind, frequencies in ((PLACE, by_place), (OFFSET, by_offset), (TIME, by_time), (NONE, 0 * by_place)):
        if (kinds == kind).any():
            angles = th.arange(1 if kind == NONE else positions)[:, None] * frequencies
            turns[kind, : len(angles)] = th.cat((angles.cos(), angles.sin()), 1)
    windows = [config.window(layer) for layer in range(config.layers)]
    groups, length = sorted(set(windows)), config.log_length
    return Shape(
        turns=turns,
        kinds=kinds,
        windows=np.array(windows),
        groups=np.array([groups.index(window) for window in windows]),
        growth=np.array([0.0 if window or not length else 1 / log(length) for window in windows]),
        legal=network.heads.legal.cpu().numpy(),
        channel=network.heads.channel.cpu().numpy().astype(np.int32),
    )


def _kinds(config: TransformerConfig, window: int) -> tuple[int, int]:
    """Kinds of position by which even and odd heads of a layer with a window are rotated: see ``Transformer``."""
    if config.positions == "rotary" or (config.positions in ("local", "local_places") and window > 0):
        return TIME, TIME
    if config.positions == "coupled":
        return PLACE, OFFSET
    if config.positions in ("places", "local_places"):
        return PLACE, PLACE
    return NONE, NONE
