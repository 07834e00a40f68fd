"""A causal pre-norm transformer that reads top to bottom.

Glossary of shapes: B frames, T tokens, S keys, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.vocab import VOCAB_SIZE
from o1nano.policies.coordinates import NUM_ROLES, coordinates

Positions = Literal["none", "rotary", "sinusoidal"]


@dataclass(frozen=True)
class TransformerConfig:
    """The network's shape; part of every checkpoint.

    Attributes:
        embedding: D.
        heads: H.
        layers: Number of blocks.
        feed_forward: Width of the hidden layer of a block.
        dropout: Rate in training; PPO switches it off.
        max_context: Longest frame in tokens.
        positions: Absolute order beyond the causal mask. ``"none"`` was the best by far wherever places are on.
        places: Whether tokens carry the embeddings of their place and role.
        num_places: Rows of the place table.
        place_offset: Places are shifted by a random number below this in training, so that every row is learned.
    """

    embedding: int = 128
    heads: int = 8
    layers: int = 4
    feed_forward: int = 512
    dropout: float = 0.1
    max_context: int = 128_000
    positions: Positions = "none"
    places: bool = True
    num_places: int = 128
    place_offset: int = 20

    def __post_init__(self) -> None:
        if self.embedding % self.heads or self.embedding // self.heads % 2:
            raise ConfigurationError(
                f"embedding={self.embedding} with heads={self.heads}; accepted: an even number of dimensions a head"
            )
        if self.positions not in ("none", "rotary", "sinusoidal"):
            raise ConfigurationError(f"positions={self.positions!r}; accepted: none, rotary, sinusoidal")


class Cache(Protocol):
    """Keys and values of earlier tokens. ``None`` in its place means training."""

    start: th.Tensor  # [B] tokens already cached

    def extend(self, layer: int, keys: th.Tensor, values: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Stores new keys and values ``[B, H, T, K]`` and returns all of them, ``[B, H, S, K]``."""

    def mask(self, length: int) -> th.Tensor | None:
        """Returns the additive mask ``[B, 1, T, S]`` of the next T tokens, or None if they see every key."""


class Attention(nn.Module):
    """Causal self-attention as plain products: at these lengths their backward pass is the fastest on a CPU."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.layer, self.rotary = config.heads, layer, config.positions == "rotary"
        self.dropout = config.dropout
        self.inputs = nn.Linear(config.embedding, 3 * config.embedding, bias=False)
        self.output = nn.Linear(config.embedding, config.embedding, bias=False)

    def forward(self, x: th.Tensor, mask: th.Tensor | None, time: th.Tensor, cache: Cache | None) -> th.Tensor:
        """Mixes ``x [B, T, D]`` with what the mask lets it see."""
        batch, length, width = x.shape
        qkv = self.inputs(x).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, K]
        if self.rotary:
            queries, keys = rotate(queries, time), rotate(keys, time)
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        scores = queries @ keys.transpose(-2, -1) * (width // self.heads) ** -0.5  # [B, H, T, S]
        if mask is not None:
            scores = scores + mask
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        mixed = (weights @ values).transpose(1, 2).reshape(batch, length, width)
        out: th.Tensor = self.output(mixed)
        return out


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on a normalised residual stream."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.embedding)
        self.attention = Attention(config, layer)
        self.norm_feed_forward = nn.LayerNorm(config.embedding)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.embedding, config.feed_forward),
            nn.GELU(),
            nn.Linear(config.feed_forward, config.embedding),
        )
        self.dropout = config.dropout

    def forward(self, x: th.Tensor, mask: th.Tensor | None, time: th.Tensor, cache: Cache | None) -> th.Tensor:
        """``[B, T, D]`` to ``[B, T, D]``."""
        x = x + F.dropout(self.attention(self.norm_attention(x), mask, time, cache), self.dropout, self.training)
        x = x + F.dropout(self.feed_forward(self.norm_feed_forward(x)), self.dropout, self.training)
        return x


class Transformer(nn.Module):
    """Tokens to hidden states."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCAB_SIZE, config.embedding)
        if config.places:
            self.places = nn.Embedding(config.num_places, config.embedding)
            self.roles = nn.Embedding(NUM_ROLES, config.embedding)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding)
        self.apply(self._initialise)
        for block in self.blocks:  # residual branches start small (GPT-2)
            assert isinstance(block, Block)
            for branch in (block.attention.output, block.feed_forward[2]):
                nn.init.normal_(branch.weight, std=0.02 * (2 * config.layers) ** -0.5)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(
        self,
        tokens: th.Tensor,
        offset: th.Tensor | None = None,
        cache: Cache | None = None,
        coords: tuple[th.Tensor, th.Tensor] | None = None,
    ) -> th.Tensor:
        """Computes hidden states.

        Args:
            tokens: ``[B, T]`` long; with a cache, the tokens behind the cached ones.
            offset: ``[B]`` shift of the places; None is 0.
            cache: Where earlier keys and values are; None runs the frames from their first token.
            coords: ``coordinates`` of the tokens, needed with a cache since they depend on the whole frame.

        Returns:
            ``[B, T, D]``.
        """
        batch, length = tokens.shape
        time = th.arange(length, device=tokens.device)
        if cache is not None:
            time = time + cache.start[:, None]
            mask = cache.mask(length)
        else:
            mask = th.full((length, length), -th.inf, device=tokens.device).triu(1)
        x = self.tokens(tokens)
        if self.config.places:
            place, role = coordinates(tokens) if coords is None else coords
            if offset is not None:
                place = place + offset[:, None]
            x = x + self.places(place.clamp(max=self.config.num_places - 1)) + self.roles(role)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(time, self.config.embedding)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask, time, cache)
        out: th.Tensor = self.norm(x)
        return out


def _angles(time: th.Tensor, width: int) -> th.Tensor:
    """``[..., width / 2]`` angles of positions (Vaswani et al. 2017, section 3.5)."""
    frequency = 10_000.0 ** (-th.arange(0, width, 2, device=time.device) / width)
    return time[..., None] * frequency


def sinusoids(time: th.Tensor, width: int) -> th.Tensor:
    """Returns sinusoidal embeddings of positions of any size, ``[..., width]``."""
    angles = _angles(time, width)
    return th.cat((angles.sin(), angles.cos()), -1)


def rotate(x: th.Tensor, time: th.Tensor) -> th.Tensor:
    """Rotates ``x [B, H, T, K]`` by position (Su et al. 2021, equation 34)."""
    angles = _angles(time, x.shape[-1])
    angles = angles[:, None] if angles.dim() == 3 else angles  # [B, 1, T, K/2] or [T, K/2]
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)
