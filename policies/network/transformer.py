"""A causal pre-norm transformer that reads top to bottom.

Glossary of shapes: B frames, T tokens, S keys, M tokens of all frames, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch as th
from torch import nn

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.ranges import Range
from o1nano.policies.network.attention import Attention
from o1nano.policies.network.attention_kernels import stack
from o1nano.policies.network.frame_batch import FrameBatch
from o1nano.policies.network.frame_scan import NUM_ROLES
from o1nano.policies.network.operations import Sight, add_norm, gelu
from o1nano.policies.network.rope import (
    OFFSET_POWER,
    Rotation,
    place_frequencies,
    rotation,
    sharpness,
    sinusoids,
    time_frequencies,
)

Positions = Literal["places", "coupled", "none", "rotary", "sinusoidal", "local", "local_places"]


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
            by the place of their digit, ``"coupled"`` those of every other head by their offset instead: long
            expressions are copied along it. ``"local"`` rotates by time in layers with a window and not at all in the
            others, ``"local_places"`` by time and by place: for long contexts. The rest, which know time but no
            places, are there for ablation.
        roles: Whether tokens carry the embedding of their role.
        windows: For each layer, how many tokens it sees, the own one included; 0: all. Empty: all, in every layer.
        rotary_base: Longest wavelength of rotations by time, divided by 2 pi.
        log_length: If not 0, layers that see everything sharpen their attention with the logarithm of the length
            beyond this one: see ``sharpness``.
    """

    embedding: Annotated[int, Range(2, 2**13)] = 128
    heads: int = 8
    layers: Annotated[int, Range(1, 256)] = 4
    feed_forward: Annotated[int, Range(1, 2**16)] = 512
    dropout: float = 0.1
    max_context: int = 128_000
    positions: Positions = "places"
    roles: bool = True
    windows: tuple[int, ...] = ()
    rotary_base: float = 10_000.0
    log_length: int = 0

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
        if self.windows and (len(self.windows) != self.layers or min(self.windows) < 0):
            raise ConfigurationError(f"windows={self.windows!r}; accepted: () or {self.layers} integers of at least 0")
        if not 1 < self.rotary_base < float("inf") or self.log_length < 0 or self.log_length == 1:
            raise ConfigurationError(
                f"rotary_base={self.rotary_base}, log_length={self.log_length}; "
                "accepted: a number above 1, and 0 or at least 2"
            )

    def window(self, layer: int) -> int:
        """Tokens that a layer sees; 0: all."""
        return self.windows[layer] if self.windows else 0


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on a normalised residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.embedding)
        self.attention = Attention(config.embedding, config.heads, config.dropout)
        self.norm_feed_forward = nn.LayerNorm(config.embedding)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.embedding, config.feed_forward),
            nn.GELU(),
            nn.Linear(config.feed_forward, config.embedding),
        )
        self.dropout = config.dropout

    def forward(
        self, x: th.Tensor, normed: th.Tensor, sight: Sight, following: nn.LayerNorm, dtype: th.dtype
    ) -> tuple[th.Tensor, th.Tensor]:
        """Runs on the tokens of whole frames.

        Args:
            x: ``[M, D]`` residual stream.
            normed: ``[M, D]`` the same, normalised by ``norm_attention``.
            sight: What tokens see.
            following: The normalisation after this block.
            dtype: What ``following`` is stored as.

        Returns:
            ``[M, D]`` residual stream after the block, and the same normalised by ``following``.
        """
        dropout = self.dropout if self.training else 0.0
        mixed = self.attention(normed, sight)
        x, normed = add_norm(x, mixed, self.norm_feed_forward, dropout, normed.dtype)
        first, _, second = self.feed_forward
        return add_norm(x, second(gelu(first(normed))), following, dropout, dtype)


class Transformer(nn.Module):
    """Tokens to hidden states."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCAB_SIZE, config.embedding)
        if config.roles:
            self.roles = nn.Embedding(NUM_ROLES, config.embedding)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding)
        self.apply(self._initialise)
        for name, weight in self.named_parameters():  # residual branches start small (GPT-2)
            if name.endswith(("attention.out_proj.weight", "feed_forward.2.weight")):
                nn.init.normal_(weight, std=0.02 * (2 * config.layers) ** -0.5)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, batch: FrameBatch) -> th.Tensor:
        """Computes the hidden states of whole frames in one pass.

        Only attention knows about frames; everything else runs once on all tokens.

        Args:
            batch: F frames.

        Returns:
            ``[M, D]``.
        """
        config = self.config
        if batch.longest > config.max_context:
            raise ConfigurationError(
                f"a frame of {batch.longest} tokens; accepted: at most max_context={config.max_context}"
            )
        device = batch.tokens.device
        sights = {window: self._sight(batch, window) for window in {config.window(i) for i in range(config.layers)}}
        dtype = th.get_autocast_dtype(device.type) if th.is_autocast_enabled(device.type) else th.float32
        embedded = stack([self._embed(batch.tokens, batch.roles, batch.time)])

        # The residual stream begins at 0, and the embedding is the first thing to be added to it.
        norms: list[nn.LayerNorm] = [block.norm_attention for block in self.blocks]  # type: ignore[misc]
        norms.append(self.norm)
        dropout = config.dropout if self.training else 0.0
        x, normed = add_norm(th.zeros_like(embedded), embedded, norms[0], dropout, dtype)
        for index, block in enumerate(self.blocks):
            last = index == config.layers - 1
            sight = sights[config.window(index)]
            x, normed = block(x, normed, sight, norms[index + 1], th.float32 if last else dtype)
        return normed[: len(batch.tokens)]

    def _sight(self, batch: FrameBatch, window: int) -> Sight:
        config, time = self.config, batch.time
        rotations = self._rotations(batch.places, batch.offsets, time, window)
        cos, sin = (th.stack(parts) for parts in zip(*rotations, strict=True))
        scale = th.full(time.shape, (config.embedding // config.heads) ** -0.5, device=time.device)
        if config.log_length and not window:
            scale *= sharpness(time, config.log_length)[:, 0]
        return Sight(batch.starts, time, window, cos, sin, scale)

    def _rotations(self, places: th.Tensor, offsets: th.Tensor, time: th.Tensor, window: int) -> list[Rotation]:
        """Returns the rotations of a layer, each of as many heads as the others, by turns."""
        config = self.config
        width = config.embedding // config.heads
        by_time = config.positions == "rotary" or (config.positions in ("local", "local_places") and window > 0)
        if by_time:
            return [rotation(time, time_frequencies(width, time.device, config.rotary_base))]
        if config.positions not in ("places", "coupled", "local_places"):
            return [rotation(th.zeros_like(time), place_frequencies(width, time.device))]  # by nothing
        by_place = rotation(places, place_frequencies(width, time.device))
        if config.positions != "coupled":
            return [by_place]
        return [by_place, rotation(offsets, place_frequencies(width, time.device, OFFSET_POWER))]

    def _embed(self, tokens: th.Tensor, role: th.Tensor, time: th.Tensor) -> th.Tensor:
        """``[M]``, or ``[B, T]``, to ``[M, D]``."""
        x = self.tokens(tokens)
        if self.config.roles:
            x = x + self.roles(role)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(time, self.config.embedding)
        out: th.Tensor = x.flatten(0, -2)
        return out
