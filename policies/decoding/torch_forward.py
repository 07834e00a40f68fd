"""The forward pass of decoding on another device, by PyTorch: the same lists of tokens and tables of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from torch.nn import functional as F

from o1nano.policies.decoding.kernels import BLOCK, FRAME, ROLE, STATE, TIME, TOKEN, Floats, Ints
from o1nano.policies.decoding.packed import pack, products_of, shape_of
from o1nano.policies.network.attention_kernels import masked
from o1nano.policies.network.model import ReasoningNetwork


class TorchForward:
    """Does what ``CompiledForward`` does. For attention, and for it only, tokens are padded to the longest frame.

    Args:
        network: The network.
        frame_length: Tokens of a frame at most.
        bf16: Whether matrix products are in bfloat16; attention stays in float32.
        half: Whether keys and values are kept in bfloat16.
    """

    def __init__(self, network: ReasoningNetwork, frame_length: int, bf16: bool, half: bool) -> None:
        config = network.config
        self.network, self.bf16 = network, bf16
        self.device = next(network.parameters()).device
        self.shape = shape_of(network, frame_length + 2)
        self._turns = th.from_numpy(self.shape.turns).to(self.device)
        self._legal = th.from_numpy(self.shape.legal).to(self.device)
        self._channel = th.from_numpy(self.shape.channel).to(self.device).long()
        # Keys and values of each layer, one slot a token.
        shape = (config.layers, 2, 0, config.heads, config.embedding // config.heads)
        self.cache = th.zeros(shape, dtype=th.bfloat16 if half else th.float32, device=self.device)
        self.pack()

    def pack(self) -> None:
        """Reads the weights of the network."""
        weights = pack(self.network)
        # The same fields as ``Weights``, as tensors.
        self._weights: Any = type(weights)(*(th.from_numpy(each).to(self.device) for each in weights))  # type: ignore[arg-type]
        self._products = products_of(weights, self.bf16, self.device)

    @property
    def block_bytes(self) -> int:
        """Memory of the keys and values of a block in one layer."""
        heads, width = self.cache.shape[3:]
        return 2 * heads * width * BLOCK * self.cache.element_size()

    def make_room(self, blocks: int) -> None:
        """Makes room for a number of blocks of keys and values."""
        more = blocks * BLOCK - self.cache.shape[2]
        if more > 0:
            shape = (*self.cache.shape[:2], more, *self.cache.shape[3:])
            self.cache = th.cat((self.cache, self.cache.new_zeros(shape)), 2)

    @th.no_grad()
    def __call__(self, inputs: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats) -> None:
        """Runs new tokens of some frames; the arguments are those of ``CompiledForward``."""
        weights, products, shape = self._weights, self._products, self.shape
        fields = th.from_numpy(inputs).to(self.device).long()
        last = th.from_numpy(ends).to(self.device).long()
        places = [_Places(inputs, table, self.device) for table in tables]

        x = self._embed(fields)
        for layer, (window, group) in enumerate(zip(shape.windows.tolist(), shape.groups.tolist(), strict=True)):
            x = x + weights.added[2 * layer]
            normed = F.layer_norm(x, x.shape[1:], weights.gain[2 * layer], weights.shift[2 * layer])
            qkv = self._multiply(normed, products.qkv[layer]).view(len(x), 3, *self.cache.shape[3:])
            mixed = self._attend(qkv, fields, layer, window, places[group])
            if layer == len(shape.windows) - 1:  # of which nothing but the ends of frames is asked for
                x, mixed = x[last], mixed[last]
            x = x + self._multiply(mixed, products.mixed[layer])
            normed = F.layer_norm(x, x.shape[1:], weights.gain[2 * layer + 1], weights.shift[2 * layer + 1])
            hidden = F.gelu(self._multiply(normed, products.hidden[layer]) + weights.hidden_bias[layer])
            x = x + self._multiply(hidden, products.change[layer])

        if not len(last):
            return
        normed = F.layer_norm(x + weights.added[-1], x.shape[1:], weights.gain[-1], weights.shift[-1])
        logits = self._multiply(normed, products.heads) + weights.heads_bias
        states = fields[STATE, last]
        logits = logits.view(len(last), -1, self._legal.shape[1])[th.arange(len(last)), self._channel[states]]
        log_probs[rows] = logits.masked_fill(~self._legal[states], -th.inf).log_softmax(1).cpu().numpy()
        critic = th.tanh(self._multiply(normed, products.critic) + weights.critic_bias)
        values[rows] = (critic @ weights.value + weights.value_bias).cpu().numpy()

    def _multiply(self, x: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return (x.to(weight.dtype) @ weight).float()

    def _embed(self, fields: th.Tensor) -> th.Tensor:
        x = self._weights.tokens[fields[TOKEN]] + self._weights.roles[fields[ROLE]]
        if len(self._weights.frequencies):
            angles = fields[TIME, :, None] * self._weights.frequencies
            x = x + th.cat((angles.sin(), angles.cos()), 1)
        embedded: th.Tensor = x
        return embedded

    def _attend(self, qkv: th.Tensor, fields: th.Tensor, layer: int, window: int, places: _Places) -> th.Tensor:
        """Stores keys and values, and attends with all tokens, ``[M, 3, H, K]`` to ``[M, D]``."""
        cache = self.cache[layer]
        queries, keys = self._rotate(qkv[:, :2], fields, layer).unbind(1)
        queries = queries * queries.shape[2] ** -0.5
        factor = float(self.shape.growth[layer]) * (fields[TIME] + 1).log()
        queries = queries * factor.clamp(min=1.0)[:, None, None]
        cache[0, places.new] = keys.to(cache.dtype)
        cache[1, places.new] = qkv[:, 2].to(cache.dtype)

        seen_keys, seen_values = cache[:, places.seen].float().transpose(2, 3)  # [R, H, S, K] each
        asked = queries[places.padded].transpose(1, 2)  # [R, H, T, K]
        mixed = masked(asked, seen_keys, seen_values, places.mask(window))
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1)[places.real]

    def _rotate(self, x: th.Tensor, fields: th.Tensor, layer: int) -> th.Tensor:
        """Rotates ``[M, 2, H, K]``, even and odd heads by their kinds of position."""
        even, odd = self.shape.kinds[layer].tolist()
        turn = th.stack((self._turns[even, fields[even]], self._turns[odd, fields[odd]]), 1)  # [M, 2, K]
        turn = turn.repeat(1, -(-x.shape[2] // 2), 1)[:, None, : x.shape[2]]
        (cos, sin), (first, second) = turn.chunk(2, -1), x.chunk(2, -1)
        return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


class _Places:
    """Where the tokens of a pass are: by frame, padded to the longest (R frames, T tokens), and in the cache.

    Attributes:
        padded: ``[R, T]`` which token of the pass each is; of padding, any.
        real: ``[M]`` where each token is in the flattened ``[R, T]``.
        new: ``[M]`` slots of the cache that the tokens are stored in.
        seen: ``[R, S]`` slots of all tokens of each frame.
    """

    def __init__(self, inputs: Ints, table: Ints, device: th.device) -> None:
        frame, time = inputs[FRAME], inputs[TIME]
        start = np.flatnonzero(np.diff(frame, prepend=-1))
        count = np.diff(start, append=len(frame))
        which = np.repeat(np.arange(len(start)), count)
        offset = np.arange(len(frame)) - start[which]
        padded = np.zeros((len(start), count.max()), dtype=np.int64)
        padded[which, offset] = np.arange(len(frame))
        blocks = np.maximum(table[frame[start], : time.max() // BLOCK + 1], 0)
        seen = blocks[:, :, None].astype(np.int64) * BLOCK + np.arange(BLOCK)

        self.padded = th.from_numpy(padded).to(device)
        self.real = th.from_numpy(which * padded.shape[1] + offset).to(device)
        self.new = th.from_numpy(table[frame, time // BLOCK].astype(np.int64) * BLOCK + time % BLOCK).to(device)
        self.seen = th.from_numpy(seen.reshape(len(start), -1)).to(device)
        self._time = th.from_numpy(time.astype(np.int64)[padded]).to(device)
        self._masks: dict[int, th.Tensor] = {}

    def mask(self, window: int) -> th.Tensor:
        """Returns the additive mask ``[R, 1, T, S]`` of layers with a window."""
        if window not in self._masks:
            key, query = th.arange(self.seen.shape[1], device=self.seen.device), self._time[:, :, None]
            hidden = (key > query) | (key <= query - window) if window else key > query
            self._masks[window] = th.zeros(hidden.shape, device=key.device).masked_fill_(hidden, -th.inf)[:, None]
        return self._masks[window]
