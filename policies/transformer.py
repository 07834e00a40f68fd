"""A causal pre-norm transformer that reads top to bottom.

Glossary of shapes: B frames, T tokens, S keys, M tokens of all frames, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.vocab import VOCAB_SIZE
from o1nano.policies.coordinates import NUM_ROLES, coordinates

Positions = Literal["places", "none", "rotary", "sinusoidal"]
Coordinates = tuple[th.Tensor, th.Tensor]
Rotation = tuple[th.Tensor, th.Tensor]


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
        positions: What tokens know of each other's order beyond the causal mask: ``"places"`` rotates queries and keys
            by the place of their digit. The others, which know time but no places, are there for ablation.
        roles: Whether tokens carry the embedding of their role.
    """

    embedding: int = 128
    heads: int = 8
    layers: int = 4
    feed_forward: int = 512
    dropout: float = 0.1
    max_context: int = 128_000
    positions: Positions = "places"
    roles: bool = True

    def __post_init__(self) -> None:
        for name in ("embedding", "heads", "layers", "feed_forward", "max_context"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; accepted: an integer of at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"dropout={self.dropout!r}; accepted: 0 <= dropout < 1")
        if self.embedding % self.heads or self.embedding // self.heads % 2:
            raise ConfigurationError(
                f"embedding={self.embedding} with heads={self.heads}; accepted: an even number of dimensions a head"
            )
        if self.positions not in get_args(Positions):
            raise ConfigurationError(f"positions={self.positions!r}; accepted: {', '.join(get_args(Positions))}")


class Cache(Protocol):
    """Keys and values of earlier tokens."""

    start: th.Tensor  # [B] tokens already cached

    def extend(self, layer: int, keys: th.Tensor, values: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Stores new keys and values ``[B, H, T, K]`` and returns all of them, ``[B, H, S, K]``."""

    def mask(self, length: int) -> th.Tensor:
        """Returns the additive mask ``[B, 1, T, S]`` of the next T tokens."""


class Group(NamedTuple):
    """Frames of similar length that attend together; one slice of the flat tokens of a pass.

    Attributes:
        start: First flat token.
        batch, length: B and T of the group.
        mask: Additive, broadcast over ``[B, H, T, S]``.
        rotation: Cosine and sine, broadcast over ``[B, H, T, K / 2]``, by which queries and keys are rotated.
        cache: Where earlier keys and values are; None means training.
    """

    start: int
    batch: int
    length: int
    mask: th.Tensor
    rotation: Rotation | None
    cache: Cache | None = None


class Attention(nn.Module):
    """Causal self-attention as plain products: at these lengths their backward pass is the fastest on a CPU."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.layer, self.dropout = config.heads, layer, config.dropout
        self.inputs = nn.Linear(config.embedding, 3 * config.embedding, bias=False)
        self.output = nn.Linear(config.embedding, config.embedding, bias=False)

    def forward(self, x: th.Tensor, groups: Sequence[Group]) -> th.Tensor:
        """Mixes ``x [M, D]`` within the frames of each group."""
        qkv = self.inputs(x)
        mixed = [self._attend(qkv[group.start : group.start + group.batch * group.length], group) for group in groups]
        out: th.Tensor = self.output(th.cat(mixed) if len(mixed) > 1 else mixed[0])
        return out

    def _attend(self, qkv: th.Tensor, group: Group) -> th.Tensor:
        width = qkv.shape[1] // 3
        # In float32 even under autocast: the products are too small for bfloat16 to pay on a CPU.
        qkv = qkv.float().view(group.batch, group.length, 3, self.heads, width // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, K]
        if group.rotation is not None:
            queries, keys = rotate(queries, group.rotation), rotate(keys, group.rotation)
        if group.cache is not None:
            keys, values = group.cache.extend(self.layer, keys, values)
        with th.autocast(qkv.device.type, enabled=False):
            queries = queries * (width // self.heads) ** -0.5
            scores = queries @ keys.transpose(-2, -1) + group.mask  # [B, H, T, S]
            weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
            mixed: th.Tensor = (weights @ values).transpose(1, 2).reshape(-1, width)
        return mixed


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

    def forward(self, x: th.Tensor, groups: Sequence[Group]) -> th.Tensor:
        """``[M, D]`` to ``[M, D]``."""
        x = x + F.dropout(self.attention(self.norm_attention(x), groups), self.dropout, self.training)
        x = x + F.dropout(self.feed_forward(self.norm_feed_forward(x)), self.dropout, self.training)
        return x


class Transformer(nn.Module):
    """Tokens to hidden states."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCAB_SIZE, config.embedding)
        if config.roles:
            self.roles = nn.Embedding(NUM_ROLES, config.embedding)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding)
        self.apply(self._initialise)
        for name, weight in self.named_parameters():  # residual branches start small (GPT-2)
            if name.endswith(("attention.output.weight", "feed_forward.2.weight")):
                nn.init.normal_(weight, std=0.02 * (2 * config.layers) ** -0.5)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens: th.Tensor) -> th.Tensor:
        """Computes the hidden states ``[B, T, D]`` of whole frames ``[B, T]``."""
        return self.together([tokens])[0]

    def together(self, batches: Sequence[th.Tensor]) -> list[th.Tensor]:
        """Computes the hidden states of several batches of frames, each padded to its own length, in one pass.

        Only attention knows about frames; everything else runs once on the tokens of all batches.

        Args:
            batches: ``[B, T]`` long each.

        Returns:
            ``[B, T, D]`` of each batch.
        """
        groups, embedded, start = [], [], 0
        for tokens in batches:
            time = th.arange(tokens.shape[1], device=tokens.device)
            mask = th.full((len(time), len(time)), -th.inf, device=tokens.device).triu(1)
            coords = coordinates(tokens)
            groups.append(Group(start, len(tokens), tokens.shape[1], mask, self._rotation(coords[0], time)))
            embedded.append(self._embed(tokens, coords[1], time))
            start += tokens.numel()
        return self._run(embedded, groups)

    def cached(self, parts: Sequence[tuple[th.Tensor, Coordinates, Cache]]) -> list[th.Tensor]:
        """Computes the hidden states of further tokens of frames whose earlier ones are cached, in one pass.

        Args:
            parts: Groups of ``[B, T]`` tokens with their coordinates (which depend on the whole frame) and their view
                of the cache. A group sees what those before it have just written.

        Returns:
            ``[B, T, D]`` of each group.
        """
        groups, embedded, start = [], [], 0
        for tokens, coords, cache in parts:
            time = th.arange(tokens.shape[1], device=tokens.device) + cache.start[:, None]
            mask = cache.mask(tokens.shape[1])
            groups.append(Group(start, len(tokens), tokens.shape[1], mask, self._rotation(coords[0], time), cache))
            embedded.append(self._embed(tokens, coords[1], time))
            start += tokens.numel()
        return self._run(embedded, groups)

    def _rotation(self, place: th.Tensor, time: th.Tensor) -> Rotation | None:
        width = self.config.embedding // self.config.heads
        if self.config.positions == "places":
            return rotation(place, place_frequencies(width, place.device))
        return rotation(time, time_frequencies(width, time.device)) if self.config.positions == "rotary" else None

    def _embed(self, tokens: th.Tensor, role: th.Tensor, time: th.Tensor) -> th.Tensor:
        """``[B, T]`` to ``[B * T, D]``."""
        x = self.tokens(tokens)
        if self.config.roles:
            x = x + self.roles(role)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(time, self.config.embedding)
        out: th.Tensor = x.flatten(0, 1)
        return out

    def _run(self, embedded: Sequence[th.Tensor], groups: Sequence[Group]) -> list[th.Tensor]:
        longest = max(group.length for group in groups)
        if longest > self.config.max_context:
            raise ConfigurationError(
                f"a frame of {longest} tokens; accepted: at most max_context={self.config.max_context}"
            )
        x = F.dropout(th.cat(list(embedded)), self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, groups)
        parts = self.norm(x).split([group.batch * group.length for group in groups])
        return [part.view(group.batch, group.length, -1) for part, group in zip(parts, groups, strict=True)]


def time_frequencies(width: int, device: th.device) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for positions in time (Vaswani et al. 2017, section 3.5)."""
    return 10_000.0 ** (-th.arange(0, width, 2, device=device) / width)


def place_frequencies(width: int, device: th.device) -> th.Tensor:
    """Returns ``[width / 2]`` frequencies for places.

    What matters about places is whether they are equal or next to each other, not whether they are near. The mean
    cosine of these frequencies is 1 at distance 0, at most 0.15 up to 8 and nowhere above 0.55 up to 128.
    """
    return th.pi * ((th.arange(0, width, 2, device=device) + 1) / width) ** 1.3


def sinusoids(time: th.Tensor, width: int) -> th.Tensor:
    """Returns sinusoidal embeddings of positions of any size, ``[..., width]``."""
    angles = time[..., None] * time_frequencies(width, time.device)
    return th.cat((angles.sin(), angles.cos()), -1)


def rotation(position: th.Tensor, frequencies: th.Tensor) -> Rotation:
    """Returns cosine and sine of the angles of ``[T]`` or ``[B, T]`` positions, broadcast over ``[B, H, T, K / 2]``."""
    angles = position[..., None] * frequencies
    angles = angles[:, None] if angles.dim() == 3 else angles
    return angles.cos(), angles.sin()


def rotate(x: th.Tensor, rotation: Rotation) -> th.Tensor:
    """Rotates ``x [B, H, T, K]`` (Su et al. 2021, equation 34)."""
    first, second = x.chunk(2, -1)
    cos, sin = rotation
    return th.cat((first * cos - second * sin, second * cos + first * sin), -1)
