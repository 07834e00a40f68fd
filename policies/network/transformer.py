"""A causal pre-norm transformer that reads top to bottom.

Glossary of shapes: B frames, T tokens, S keys, M tokens of all frames, D embedding, H heads, K = D / H.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args

import torch as th
from torch import nn
from torch.nn import functional as F

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.ranges import Range
from o1nano.policies.network.attention import Attention, Cache, Group
from o1nano.policies.network.attention_kernels import causal_mask, stack
from o1nano.policies.network.frame_scan import NUM_ROLES, scan_batch
from o1nano.policies.network.rope import (
    OFFSET_POWER,
    Rotation,
    alternating,
    place_frequencies,
    rotation,
    sharpness,
    sinusoids,
    time_frequencies,
)


class Coordinates(NamedTuple):
    """Where tokens stand; three tensors of the same shape. The attributes are those of ``frame_scan.Scan``."""

    place: th.Tensor
    role: th.Tensor
    offset: th.Tensor


def coordinates(tokens: th.Tensor) -> Coordinates:
    """Computes where each token of whole frames stands.

    Args:
        tokens: ``[B, T]``, padded with 0.

    Returns:
        ``[B, T]`` each, on the same device.
    """
    scan = scan_batch(tokens.to("cpu", th.uint8).numpy())
    return Coordinates(*(th.from_numpy(each).to(tokens.device) for each in (scan.place, scan.role, scan.offset)))


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

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.embedding)
        self.attention = Attention(config.embedding, config.heads, layer, config.window(layer), config.dropout)
        self.norm_feed_forward = nn.LayerNorm(config.embedding)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.embedding, config.feed_forward),
            nn.GELU(),
            nn.Linear(config.feed_forward, config.embedding),
        )
        self.dropout = config.dropout

    def forward(self, x: th.Tensor, groups: Sequence[Group], last: int = 0) -> th.Tensor:
        """``[M, D]`` to ``[M, D]``; ``last``: to so many last tokens of the only group."""
        mixed = self.attention(self.norm_attention(x), groups, last)
        if last:
            x = stack([x[groups[0].tokens][-last:]])
        x = x + F.dropout(mixed, self.dropout, self.training)
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
        longest = max(tokens.shape[1] for tokens in batches)
        if longest > self.config.max_context:
            raise ConfigurationError(
                f"a frame of {longest} tokens; accepted: at most max_context={self.config.max_context}"
            )
        groups, embedded, start = [], [], 0
        for tokens in batches:
            time = th.arange(tokens.shape[1], device=tokens.device)
            coords = coordinates(tokens)
            groups.append(self._group(start, tokens, coords, time))
            embedded.append(self._embed(tokens, coords.role, time))
            start += tokens.numel()
        return self._run(embedded, groups)

    def cached(self, tokens: th.Tensor, coords: Coordinates, time: th.Tensor, cache: Cache, last: int = 0) -> th.Tensor:
        """Computes the hidden states of further tokens of frames whose earlier ones are cached.

        The tokens are flat, whichever frames they belong to: the cache knows.

        Args:
            tokens: ``[M]``.
            coords: Where they stand, ``[M]`` each, which depends on the whole frame.
            time: ``[M]`` where in their frames they are.
            cache: Where their keys and values go, and those of earlier tokens are.
            last: How many tokens at the end are asked for; 0: all. The last layer then computes no other: of a prompt
                it needs keys and values only.

        Returns:
            ``[M, D]``, or ``[last, D]``.
        """
        row = Coordinates(*(each[None] for each in coords))
        group = self._group(0, tokens[None], row, time[None], cache)
        return self._run([self._embed(tokens[None], row.role, time[None])], [group], last)[0][0]

    def _group(
        self, start: int, tokens: th.Tensor, coords: Coordinates, time: th.Tensor, cache: Cache | None = None
    ) -> Group:
        config, length = self.config, tokens.shape[1]
        windows = {config.window(layer) for layer in range(config.layers)}
        rotations = {window: self._rotation(coords, time, window) for window in windows}
        sharp = sharpness(time, config.log_length) if config.log_length else None
        # Beyond two windows' length attention within a window is cheaper in bands than under a mask.
        under_mask = () if cache is not None else [window for window in windows if not 0 < window <= length // 2]
        masks = {window: causal_mask(length, length, window, tokens.device) for window in under_mask}
        return Group(start, len(tokens), length, rotations, sharp, masks, cache)

    def _rotation(self, coords: Coordinates, time: th.Tensor, window: int) -> Rotation | None:
        config = self.config
        width = config.embedding // config.heads
        by_time = config.positions == "rotary" or (config.positions in ("local", "local_places") and window > 0)
        if by_time:
            return rotation(time, time_frequencies(width, time.device, config.rotary_base))
        if config.positions in ("places", "coupled", "local_places"):
            by_place = rotation(coords.place, place_frequencies(width, time.device))
            if config.positions != "coupled":
                return by_place
            by_offset = rotation(coords.offset, place_frequencies(width, time.device, OFFSET_POWER))
            return alternating(by_place, by_offset, config.heads)
        return None

    def _embed(self, tokens: th.Tensor, role: th.Tensor, time: th.Tensor) -> th.Tensor:
        """``[B, T]`` to ``[B * T, D]``."""
        x = self.tokens(tokens)
        if self.config.roles:
            x = x + self.roles(role)
        if self.config.positions == "sinusoidal":
            x = x + sinusoids(time, self.config.embedding)
        out: th.Tensor = x.flatten(0, 1)
        return out

    def _run(self, embedded: Sequence[th.Tensor], groups: Sequence[Group], last: int = 0) -> list[th.Tensor]:
        x = F.dropout(stack(embedded), self.config.dropout, self.training)
        for index, block in enumerate(self.blocks, start=1):
            x = block(x, groups, last if index == len(self.blocks) else 0)
        lengths = [last or group.length for group in groups]
        sizes = [group.batch * length for group, length in zip(groups, lengths, strict=True)]
        parts = self.norm(x)[: sum(sizes)].split(sizes)
        return [part.view(-1, length, part.shape[1]) for part, length in zip(parts, lengths, strict=True)]
