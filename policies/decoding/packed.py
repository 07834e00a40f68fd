"""A network as decoding reads it: its weights as contiguous arrays, and tables that do not depend on the weights."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.core.grammar import Channel
from o1nano.policies.decoding.layout import (
    COLUMN,
    COLUMN_ROLE,
    NO_POSITION,
    NUM_FIELDS,
    OFFSET,
    PLACE,
    ROLE,
    TIME,
    Floats,
    Ints,
)
from o1nano.policies.network.frame_scan import NUM_ROLES
from o1nano.policies.network.heads import Heads
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.rope import OFFSET_POWER, place_frequencies, time_frequencies
from o1nano.policies.network.transformer import Transformer, TransformerConfig


class Weights(NamedTuple):
    """All weights, contiguous. Matrices are transposed: a product is ``x @ weight``.

    Norms are numbered in the order of the pass: 2 * i is the norm before attention in layer i, 2 * i + 1 the one before
    its feed-forward layer, 2 * layers the last one. ``branch_bias[n]`` is the bias of the branch that is added before
    norm n. Only feed-forward layers have one, so rows 2, 4, ... are set.

    Shapes: D embedding, F width of the feed-forward layer, C channels, V vocabulary.
    """

    tokens: Floats  # [V, D]
    roles: Floats  # [NUM_ROLES, D]
    frequencies: Floats  # [D / 2] of sinusoids, or empty
    qkv: Floats  # [layers, D, 3 * D]
    attention_out: Floats  # [layers, D, D]
    up: Floats  # [layers, D, F]
    up_bias: Floats  # [layers, F]
    down: Floats  # [layers, F, D]
    branch_bias: Floats  # [2 * layers + 1, D]
    norm_weight: Floats  # [2 * layers + 1, D]
    norm_bias: Floats  # [2 * layers + 1, D]
    heads: Floats  # [D, C * V]
    heads_bias: Floats  # [C * V]
    critic: Floats  # [D, D]
    critic_bias: Floats  # [D]
    value: Floats  # [D]
    value_bias: Floats  # [1]


class Products(NamedTuple):
    """The weights of matrix products, as tensors in the precision of large batches; shapes as in ``Weights``."""

    qkv: th.Tensor
    attention_out: th.Tensor
    up: th.Tensor
    down: th.Tensor
    heads: th.Tensor
    critic: th.Tensor


class Tables(NamedTuple):
    """What does not change with the weights.

    Attributes:
        rotations: ``[10, positions, K]``: for each kind of position, a row of ``fields``, the cosines and then the
            sines of its angles at each position.
        kinds: ``[layers, 2]`` kinds of position by which even and odd heads are rotated.
        windows: ``[layers]`` tokens that each token sees; 0 means all.
        groups: ``[layers]`` which block table belongs to each layer: layers with the same window share one.
        role_field: Which row of ``fields`` is embedded as the role.
        log_scale: ``[layers]`` 1 / log(``log_length``) of ``TransformerConfig`` where that is set, otherwise 0.
        legal: ``[NUM_STATES, V]`` legal tokens in each grammar state.
        channel: ``[NUM_STATES]`` output head of each grammar state.
    """

    rotations: Floats
    kinds: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    role_field: int
    log_scale: npt.NDArray[np.float64]
    legal: npt.NDArray[np.bool_]
    channel: Ints


@th.no_grad()
def pack(network: ReasoningNetwork) -> Weights:
    """Returns copies of the weights of a network."""
    return Weights(**_embeddings(network.trunk), **_layers(network.trunk), **_output_heads(network.heads))


def _stack(parameters: list[th.Tensor]) -> Floats:
    """Returns parameters of the same shape as one array, one layer after the other."""
    array: Floats = th.stack([parameter.float().cpu() for parameter in parameters]).contiguous().numpy()
    return array


def _embeddings(trunk: Transformer) -> dict[str, Floats]:
    config = trunk.config
    width = config.embedding
    roles = trunk.roles.weight if config.roles else th.zeros(NUM_ROLES, width)
    frequencies = th.zeros(0)
    if config.positions == "sinusoidal":
        frequencies = time_frequencies(width, th.device("cpu"))
    return {
        "tokens": trunk.tokens.weight.float().cpu().contiguous().numpy().copy(),
        "roles": roles.float().cpu().numpy().copy(),
        "frequencies": frequencies.numpy().astype(np.float32),
    }


def _layers(trunk: Transformer) -> dict[str, Floats]:
    blocks: list[Any] = list(trunk.blocks)
    norms: list[Any] = []
    for block in blocks:
        norms.append(block.norm_attention)
        norms.append(block.norm_feed_forward)
    norms.append(trunk.norm)

    # The branch that is added before norm 2 * i + 2 is the feed-forward layer of block i.
    branch_bias = np.zeros((len(norms), trunk.config.embedding), dtype=np.float32)
    branch_bias[2::2] = _stack([block.feed_forward[2].bias for block in blocks])
    return {
        "qkv": _stack([block.attention.qkv_proj.weight.T for block in blocks]),
        "attention_out": _stack([block.attention.out_proj.weight.T for block in blocks]),
        "up": _stack([block.feed_forward[0].weight.T for block in blocks]),
        "up_bias": _stack([block.feed_forward[0].bias for block in blocks]),
        "down": _stack([block.feed_forward[2].weight.T for block in blocks]),
        "branch_bias": branch_bias,
        "norm_weight": _stack([norm.weight for norm in norms]),
        "norm_bias": _stack([norm.bias for norm in norms]),
    }


def _output_heads(heads: Heads) -> dict[str, Floats]:
    decoders = {
        Channel.REASONING: heads.reasoning,
        Channel.COMPLETION: heads.completion,
        Channel.SUBTASK: heads.subtask,
    }
    # The channel of a grammar state says where in a row of logits its vocabulary begins.
    in_order = [decoders[channel] for channel in Channel]
    critic: list[Any] = list(heads.value)
    hidden, _, output = critic
    return {
        "heads": th.cat([decoder.weight.float().cpu().T for decoder in in_order], dim=1).contiguous().numpy(),
        "heads_bias": np.concatenate([_stack([decoder.bias])[0] for decoder in in_order]),
        "critic": _stack([hidden.weight.T])[0],
        "critic_bias": _stack([hidden.bias])[0],
        "value": _stack([output.weight[0]])[0],
        "value_bias": _stack([output.bias])[0],
    }


def products_of(weights: Weights, bf16: bool, device: th.device | None = None) -> Products:
    """Returns the weights of matrix products as tensors.

    Args:
        weights: All weights.
        bf16: Whether in bfloat16. Otherwise tensors on the CPU share the memory of the arrays.
        device: Where the tensors go; by default the CPU.
    """
    dtype = th.bfloat16 if bf16 else th.float32
    arrays = [getattr(weights, name) for name in Products._fields]
    return Products(*(th.from_numpy(array).to(device, dtype) for array in arrays))


def tables_of(network: ReasoningNetwork, positions: int) -> Tables:
    """Returns what the forward pass needs besides the weights.

    Args:
        network: The network.
        positions: How many places, columns, offsets and times there are at most.
    """
    config = network.config
    windows = [config.window(layer) for layer in range(config.layers)]
    groups = sorted(set(windows))
    kinds = np.array([_position_kinds(config, window) for window in windows])

    log_scale = np.zeros(config.layers)
    for layer, window in enumerate(windows):
        if config.log_length and not window:
            log_scale[layer] = 1 / log(config.log_length)

    return Tables(
        rotations=_rotations(config, kinds, positions),
        kinds=kinds,
        windows=np.array(windows),
        groups=np.array([groups.index(window) for window in windows]),
        role_field=COLUMN_ROLE if config.positions == "aligned" else ROLE,
        log_scale=log_scale,
        legal=network.heads.legal.cpu().numpy(),
        channel=network.heads.channel.cpu().numpy().astype(np.int32),
    )


def _rotations(config: TransformerConfig, kinds: npt.NDArray[np.int64], positions: int) -> Floats:
    """Returns ``Tables.rotations``; kinds that no head uses stay 0."""
    width = config.embedding // config.heads
    cpu = th.device("cpu")
    frequencies = {
        PLACE: place_frequencies(width, cpu),
        COLUMN: place_frequencies(width, cpu),
        OFFSET: place_frequencies(width, cpu, OFFSET_POWER),
        TIME: time_frequencies(width, cpu, config.rotary_base),
        NO_POSITION: th.zeros(width // 2),
    }

    rotations = np.zeros((NUM_FIELDS, positions, width), dtype=np.float32)
    for kind, each in frequencies.items():
        if (kinds == kind).any():
            # The only position of this kind is 0, with angle 0.
            count = 1 if kind == NO_POSITION else positions
            angles = th.arange(count)[:, None] * each
            rotations[kind, :count] = th.cat((angles.cos(), angles.sin()), 1)
    return rotations


def _position_kinds(config: TransformerConfig, window: int) -> tuple[int, int]:
    """Returns the kinds of position by which even and odd heads of a layer are rotated: see ``TransformerConfig``."""
    if config.positions == "rotary" or (config.positions in ("local", "local_places") and window > 0):
        return TIME, TIME
    if config.positions == "coupled":
        return PLACE, OFFSET
    if config.positions == "aligned":
        return COLUMN, OFFSET
    if config.positions in ("places", "local_places"):
        return PLACE, PLACE
    return NO_POSITION, NO_POSITION
