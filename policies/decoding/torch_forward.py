"""The forward pass of decoding on another device, by PyTorch, with the same lists of tokens and block tables.

For attention, and only for attention, tokens are padded to the longest frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from torch.nn import functional as F

from o1nano.policies.decoding.layout import BLOCK, FRAME, STATE, TIME, TOKEN, Floats, Ints
from o1nano.policies.decoding.packed import Weights, pack, products_of, tables_of
from o1nano.policies.network.attention_kernels import masked_attention
from o1nano.policies.network.model import ReasoningNetwork


class TorchForward:
    """Computes the same as ``CompiledForward``.

    Args:
        network: The network.
        frame_length: Most tokens of a frame.
        bf16: Whether matrix products are in bfloat16; attention stays in float32.
        half: Whether keys and values are stored in bfloat16.
    """

    def __init__(self, network: ReasoningNetwork, frame_length: int, bf16: bool, half: bool) -> None:
        config = network.config
        self.network = network
        self.bf16 = bf16
        self.device = next(network.parameters()).device
        self.tables = tables_of(network, frame_length + 2)
        self._rotations = th.from_numpy(self.tables.rotations).to(self.device)
        self._legal = th.from_numpy(self.tables.legal).to(self.device)
        self._channel = th.from_numpy(self.tables.channel).to(self.device).long()

        # Keys and values of each layer: [layers, 2, slots, H, K], where slot = block * BLOCK + token % BLOCK.
        shape = (config.layers, 2, 0, config.heads, config.embedding // config.heads)
        self.cache = th.zeros(shape, dtype=th.bfloat16 if half else th.float32, device=self.device)
        self.pack()

    def pack(self) -> None:
        """Reads the weights of the network."""
        weights = pack(self.network)
        tensors = [th.from_numpy(array).to(self.device) for array in weights]
        self._weights: Any = Weights(*tensors)  # type: ignore[arg-type]
        self._products = products_of(weights, self.bf16, self.device)

    @property
    def block_bytes(self) -> int:
        """Memory of the keys and values of a block in one layer, in bytes."""
        heads, width = self.cache.shape[3:]
        return 2 * heads * width * BLOCK * self.cache.element_size()

    def make_room(self, blocks: int) -> None:
        """Makes room for a number of blocks."""
        missing = blocks * BLOCK - self.cache.shape[2]
        if missing > 0:
            shape = (*self.cache.shape[:2], missing, *self.cache.shape[3:])
            self.cache = th.cat((self.cache, self.cache.new_zeros(shape)), 2)

    @th.no_grad()
    def __call__(self, fields: Ints, ends: Ints, rows: Ints, tables: Ints, log_probs: Floats, values: Floats) -> None:
        """Runs the new tokens of some frames; see ``CompiledForward`` for the arguments."""
        weights = self._weights
        products = self._products
        tokens = th.from_numpy(fields).to(self.device).long()
        last = th.from_numpy(ends).to(self.device).long()
        slots = [_Slots(fields, table, self.device) for table in tables]

        x = self._embed(tokens)
        for layer in range(self.network.config.layers):
            x = x + weights.branch_bias[2 * layer]
            qkv = self._multiply(self._norm(x, 2 * layer), products.qkv[layer]).view(len(x), 3, *self.cache.shape[3:])
            attended = self._attend(qkv, tokens, layer, slots[self.tables.groups[layer]])
            if layer == self.network.config.layers - 1:  # from here on only the ends of frames matter
                x = x[last]
                attended = attended[last]
            x = x + self._multiply(attended, products.attention_out[layer])

            hidden = self._multiply(self._norm(x, 2 * layer + 1), products.up[layer])
            hidden = F.gelu(hidden + weights.up_bias[layer])
            x = x + self._multiply(hidden, products.down[layer])

        # A pass may hold only the beginning of a long frame; then nothing is asked for.
        if len(last):
            normed = self._norm(x + weights.branch_bias[-1], -1)
            log_probs[rows] = self._log_probs(normed, tokens[STATE, last]).cpu().numpy()
            critic = th.tanh(self._multiply(normed, products.critic) + weights.critic_bias)
            values[rows] = (critic @ weights.value + weights.value_bias).cpu().numpy()

    def _norm(self, x: th.Tensor, number: int) -> th.Tensor:
        return F.layer_norm(x, x.shape[1:], self._weights.norm_weight[number], self._weights.norm_bias[number])

    def _multiply(self, x: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return (x.to(weight.dtype) @ weight).float()

    def _embed(self, tokens: th.Tensor) -> th.Tensor:
        weights = self._weights
        x: th.Tensor = weights.tokens[tokens[TOKEN]] + weights.roles[tokens[self.tables.role_field]]
        if len(weights.frequencies):
            angles = tokens[TIME, :, None] * weights.frequencies
            x = x + th.cat((angles.sin(), angles.cos()), 1)
        return x

    def _log_probs(self, normed: th.Tensor, states: th.Tensor) -> th.Tensor:
        """Returns ``[Q, V]`` log-probabilities of normalised hidden states ``[Q, D]`` in some grammar states."""
        logits: th.Tensor = self._multiply(normed, self._products.heads) + self._weights.heads_bias
        logits = logits.view(len(normed), -1, self._legal.shape[1])  # [Q, channels, V]
        logits = logits[th.arange(len(normed)), self._channel[states]]
        log_probs: th.Tensor = logits.masked_fill(~self._legal[states], -th.inf).log_softmax(1)
        return log_probs

    def _attend(self, qkv: th.Tensor, tokens: th.Tensor, layer: int, slots: _Slots) -> th.Tensor:
        """Stores keys and values ``[M, 3, H, K]``, and attends with all tokens; returns ``[M, D]``."""
        cache = self.cache[layer]
        queries, keys = self._rotate(qkv[:, :2], tokens, layer).unbind(1)
        queries = queries * queries.shape[2] ** -0.5
        factor = float(self.tables.log_scale[layer]) * (tokens[TIME] + 1).log()
        queries = queries * factor.clamp(min=1.0)[:, None, None]

        cache[0, slots.new] = keys.to(cache.dtype)
        cache[1, slots.new] = qkv[:, 2].to(cache.dtype)
        seen_keys, seen_values = cache[:, slots.seen].float().transpose(2, 3)  # [R, H, S, K] each

        padded = queries[slots.padded].transpose(1, 2)  # [R, H, T, K]
        mask = slots.mask(int(self.tables.windows[layer]))
        attended = masked_attention(padded, seen_keys, seen_values, mask)
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)[slots.real]

    def _rotate(self, x: th.Tensor, tokens: th.Tensor, layer: int) -> th.Tensor:
        """Applies RoPE to ``x [M, 2, H, K]``, even and odd heads by their kinds of position."""
        heads = x.shape[2]
        even, odd = self.tables.kinds[layer].tolist()
        pair = th.stack((self._rotations[even, tokens[even]], self._rotations[odd, tokens[odd]]), 1)  # [M, 2, K]
        of_heads = pair.repeat(1, -(-heads // 2), 1)[:, None, :heads]  # [M, 1, H, K]

        cos, sin = of_heads.chunk(2, -1)
        first, second = x.chunk(2, -1)
        return th.cat((first * cos - second * sin, second * cos + first * sin), -1)


class _Slots:
    """Where the new tokens of a pass are in the cache, and in a batch of R frames padded to T tokens.

    Attributes:
        padded: ``[R, T]`` number of each token among the new ones; 0 for padding.
        real: ``[M]`` index of each new token in the flattened ``[R, T]``.
        new: ``[M]`` slots of the cache to which the new tokens are written.
        seen: ``[R, S]`` slots of all tokens of each frame.
    """

    def __init__(self, fields: Ints, table: Ints, device: th.device) -> None:
        frame = fields[FRAME]
        time = fields[TIME]

        # Consecutive tokens of a frame: where they start, and of each token, its frame and its index among them.
        start = np.flatnonzero(np.diff(frame, prepend=-1))
        count = np.diff(start, append=len(frame))
        which = np.repeat(np.arange(len(start)), count)
        index = np.arange(len(frame)) - start[which]
        padded = np.zeros((len(start), count.max()), dtype=np.int64)
        padded[which, index] = np.arange(len(frame))

        # A token's slot is its block's number times BLOCK, plus its place within the block.
        blocks = np.maximum(table[frame[start], : time.max() // BLOCK + 1], 0).astype(np.int64)
        seen = blocks[:, :, None] * BLOCK + np.arange(BLOCK)
        new = table[frame, time // BLOCK].astype(np.int64) * BLOCK + time % BLOCK

        self.padded = th.from_numpy(padded).to(device)
        self.real = th.from_numpy(which * padded.shape[1] + index).to(device)
        self.new = th.from_numpy(new).to(device)
        self.seen = th.from_numpy(seen.reshape(len(start), -1)).to(device)
        self._time = th.from_numpy(time.astype(np.int64)[padded]).to(device)
        self._masks: dict[int, th.Tensor] = {}

    def mask(self, window: int) -> th.Tensor:
        """Returns the additive mask ``[R, 1, T, S]`` of layers with a window."""
        if window not in self._masks:
            key = th.arange(self.seen.shape[1], device=self.seen.device)
            query = self._time[:, :, None]
            # Causal: a token sees no later one. Slots beyond the frame count as later.
            hidden = key > query
            if window:
                hidden |= key <= query - window
            self._masks[window] = th.zeros(hidden.shape, device=key.device).masked_fill_(hidden, -th.inf)[:, None]
        return self._masks[window]
