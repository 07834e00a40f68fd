"""A causal pre-norm transformer over packed frames.

It has no absolute positions. What tokens know of each other's order beyond the causal mask is chosen by
``TransformerConfig.positions``; the places, columns, offsets and roles of tokens come from ``frame_scan``.

Shapes: M tokens of all frames, D embedding, H heads, K = D / H, R kinds of rotation.
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
from o1nano.policies.network.attention_kernels import pad_rows
from o1nano.policies.network.frame_batch import FrameBatch
from o1nano.policies.network.frame_scan import NUM_ROLES
from o1nano.policies.network.operations import AttentionPattern, add_norm, gelu
from o1nano.policies.network.rope import (
    OFFSET_POWER,
    Rotation,
    place_frequencies,
    rotation,
    sharpness,
    sinusoids,
    time_frequencies,
)

Positions = Literal["places", "coupled", "aligned", "none", "rotary", "sinusoidal", "local", "local_places"]


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of the network. It is stored in every checkpoint.

    Attributes:
        embedding: D.
        heads: H.
        layers: Number of blocks.
        feed_forward: Width of the hidden layer of a block.
        dropout: Rate in training; PPO switches it off.
        max_context: Longest frame in tokens.
        positions: What tokens know of each other's order beyond the causal mask. ``"places"`` rotates queries and keys
            by place. ``"coupled"`` rotates those of every other head by offset instead, along which long expressions
            are copied. ``"aligned"`` is the same with columns instead of places, so that products and quotients copy
            straight where units are dropped, and see where a returned number ends. ``"local"``, for long contexts,
            rotates by time in layers with a window, and not at all in the other layers; ``"local_places"`` by time in
            layers with a window, and by place in the others. The rest are for ablation: ``"none"``, ``"rotary"`` and
            ``"sinusoidal"`` (both by time).
        roles: Whether the embedding of its role is added to each token.
        windows: For each layer, how many tokens a token sees, its own included; 0 means all. Empty means all in every
            layer.
        rotary_base: Longest wavelength of rotations by time, divided by 2 pi.
        log_length: If not 0, layers without a window sharpen attention beyond this length: see ``sharpness``.
    """

    embedding: Annotated[int, Range(2, 2**13)] = 128
    heads: int = 8
    layers: Annotated[int, Range(1, 256)] = 4
    feed_forward: Annotated[int, Range(1, 2**16)] = 512
    dropout: float = 0.1
    max_context: int = 128_000
    positions: Positions = "aligned"
    roles: bool = True
    windows: tuple[int, ...] = ()
    rotary_base: float = 10_000.0
    log_length: int = 0

    def __post_init__(self) -> None:
        for name in ("embedding", "heads", "layers", "feed_forward", "max_context"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; expected an integer of at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"dropout={self.dropout!r}; expected 0 <= dropout < 1")
        if self.embedding % self.heads or self.embedding // self.heads % 2:
            raise ConfigurationError(
                f"embedding={self.embedding} with heads={self.heads}; expected an even number of dimensions a head"
            )
        self._check_positions()

    def _check_positions(self) -> None:
        if self.positions not in get_args(Positions):
            raise ConfigurationError(f"positions={self.positions!r}; expected {', '.join(get_args(Positions))}")
        if self.windows and (len(self.windows) != self.layers or min(self.windows) < 0):
            raise ConfigurationError(f"windows={self.windows!r}; expected () or {self.layers} integers of at least 0")
        if not 1 < self.rotary_base < float("inf") or self.log_length < 0 or self.log_length == 1:
            raise ConfigurationError(
                f"rotary_base={self.rotary_base}, log_length={self.log_length}; "
                "expected a number above 1, and 0 or at least 2"
            )

    def window(self, layer: int) -> int:
        """Returns how many tokens a layer sees; 0 means all."""
        return self.windows[layer] if self.windows else 0


class Block(nn.Module):
    """A pre-norm block: attention, then a feed-forward layer, each added to the residual stream.

    The norm that follows an addition is computed in the same pass over memory (``operations.add_norm``). So a block
    takes the stream together with its norm, and returns the stream together with the norm of the next block.
    """

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
        self, x: th.Tensor, normed: th.Tensor, pattern: AttentionPattern, next_norm: nn.LayerNorm, dtype: th.dtype
    ) -> tuple[th.Tensor, th.Tensor]:
        """Runs the block on the tokens of whole frames.

        Args:
            x: ``[M, D]`` residual stream.
            normed: ``[M, D]`` the stream after ``norm_attention``.
            pattern: Which tokens see which.
            next_norm: The norm after this block.
            dtype: What the result of ``next_norm`` is stored as.

        Returns:
            ``[M, D]`` residual stream after the block, and ``[M, D]`` the stream after ``next_norm``.
        """
        dropout = self.dropout if self.training else 0.0

        attended = self.attention(normed, pattern)
        x, normed = add_norm(x, attended, self.norm_feed_forward, dropout, normed.dtype)

        up, _, down = self.feed_forward
        return add_norm(x, down(gelu(up(normed))), next_norm, dropout, dtype)


class Transformer(nn.Module):
    """The trunk: from tokens to hidden states.

    Args:
        config: Its shape.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(VOCAB_SIZE, config.embedding)
        if config.roles:
            self.roles = nn.Embedding(NUM_ROLES, config.embedding)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding)

        self.apply(self._initialise)
        # Residual branches start small: their variances add up over 2 * layers branches (GPT-2).
        for name, weight in self.named_parameters():
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
            batch: Packed frames with M tokens.

        Returns:
            ``[M, D]`` hidden states, normalised.
        """
        config = self.config
        if batch.longest > config.max_context:
            raise ConfigurationError(
                f"a frame of {batch.longest} tokens; expected at most max_context={config.max_context}"
            )

        # Layers with the same window share an attention pattern.
        windows = [config.window(layer) for layer in range(config.layers)]
        patterns = {window: self._attention_pattern(batch, window) for window in set(windows)}

        # What only matrix products read is in their precision; the residual stream and the output are float32.
        device = batch.tokens.device.type
        dtype = th.get_autocast_dtype(device) if th.is_autocast_enabled(device) else th.float32

        # The residual stream begins at 0, and the embedding is the first branch that is added to it.
        roles = batch.column_roles if self.config.positions == "aligned" else batch.roles
        embedded = pad_rows(self._embed(batch.tokens, roles, batch.time))
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        norms = [*(block.norm_attention for block in blocks), self.norm]
        dropout = config.dropout if self.training else 0.0
        x, normed = add_norm(th.zeros_like(embedded), embedded, norms[0], dropout, dtype)

        for layer, block in enumerate(blocks):
            is_last = layer == config.layers - 1
            out_dtype = th.float32 if is_last else dtype
            x, normed = block(x, normed, patterns[windows[layer]], norms[layer + 1], out_dtype)
        return normed[: len(batch.tokens)]

    def _attention_pattern(self, batch: FrameBatch, window: int) -> AttentionPattern:
        """Returns which tokens see which, in the layers with this window."""
        config = self.config
        time = batch.time
        rotations = self._rotations(batch, window)
        cos, sin = (th.stack(parts) for parts in zip(*rotations, strict=True))  # [R, M, K / 2] each

        # Scores are divided by the square root of K (Vaswani et al. 2017).
        scale = th.full(time.shape, (config.embedding // config.heads) ** -0.5, device=time.device)
        if config.log_length and not window:
            scale *= sharpness(time, config.log_length)[:, 0]
        return AttentionPattern(batch.starts, time, window, cos, sin, scale)

    def _rotations(self, batch: FrameBatch, window: int) -> list[Rotation]:
        """Returns the R rotations of a layer: head h takes number ``h % R``."""
        config = self.config
        device = batch.time.device
        width = config.embedding // config.heads

        by_time = config.positions == "rotary" or (config.positions in ("local", "local_places") and window > 0)
        if by_time:
            return [rotation(batch.time, time_frequencies(width, device, config.rotary_base))]
        if config.positions not in ("places", "coupled", "aligned", "local_places"):
            return [rotation(th.zeros_like(batch.time), place_frequencies(width, device))]  # by angle 0

        places = batch.columns if config.positions == "aligned" else batch.places
        by_place = rotation(places, place_frequencies(width, device))
        if config.positions not in ("coupled", "aligned"):
            return [by_place]
        # Even heads by place, odd heads by offset.
        by_offset = rotation(batch.offsets, place_frequencies(width, device, OFFSET_POWER))
        return [by_place, by_offset]

    def _embed(self, tokens: th.Tensor, roles: th.Tensor, time: th.Tensor) -> th.Tensor:
        """Returns embeddings ``[M, D]`` of ``[M]`` tokens."""
        x = self.tokens(tokens)
        if self.config.roles:
            x = x + self.roles(roles)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(time, self.config.embedding)
        out: th.Tensor = x.flatten(0, -2)
        return out
