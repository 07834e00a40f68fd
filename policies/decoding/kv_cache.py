"""The key-value cache: one slot for every open frame, active frames in place, suspended ones set aside.

The cache is inference state. It is never stored, and whatever does not agree with the observation is computed again.

Shapes: N rows (environments), H heads, C capacity in tokens, K dimensions of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.policies.network.attention_kernels import masked
from o1nano.policies.network.transformer import TransformerConfig


@dataclass(slots=True)
class Suspended:
    """A frame that waits for a child: its tokens so far, its grammar state, its keys and values."""

    tokens: npt.NDArray[np.uint8]  # [t]
    state: int
    keys_values: th.Tensor  # [layers, H, t, 2, K]


class FrameCache:
    """Keys and values of the active frame of every row.

    Args:
        config: The transformer's shape.
        rows: N.
        capacity: C, the longest frame.
        device: Where the network is.
    """

    def __init__(self, config: TransformerConfig, rows: int, capacity: int, device: th.device) -> None:
        width = config.embedding // config.heads
        shape = (config.layers, rows, config.heads, capacity, 2, width)
        self.keys_values = th.zeros(shape, device=device)
        self.length = np.zeros(rows, dtype=np.intp)
        self.suspended: list[list[Suspended]] = [[] for _ in range(rows)]

    def clear(self) -> None:
        """Forgets everything, as after an update of the weights."""
        self.length[:] = 0
        self.suspended = [[] for _ in self.suspended]

    def suspend(self, row: int, tokens: npt.NDArray[np.uint8], state: int) -> None:
        """Sets the active frame of a row aside."""
        length = int(self.length[row])
        kept = self.keys_values[:, row, :, :length].clone()
        self.suspended[row].append(Suspended(tokens[:length].copy(), state, kept))

    def resume(self, row: int, frame: Suspended) -> None:
        """Makes a suspended frame the active one of a row."""
        self.length[row] = len(frame.tokens)
        self.keys_values[:, row, :, : len(frame.tokens)] = frame.keys_values

    def view(
        self, rows: npt.NDArray[np.intp], counts: npt.NDArray[np.intp], last: npt.NDArray[np.intp] | None = None
    ) -> CacheView:
        """Returns the cache as the transformer sees it while new tokens are computed.

        Args:
            rows: ``[B]`` rows that take some tokens behind those that they have.
            counts: ``[B]`` how many.
            last: ``[N]`` where every row takes one more token, behind those; None: no row does.
        """
        return CacheView(self, rows, counts, last)


class CacheView:
    """The new tokens of one pass, flat: those of some rows, one row after the other, then the last one of every row.

    The last tokens of all rows attend in place, without a copy of the cache; only queries of the others are padded.

    Attributes:
        row, time: ``[M]`` the row of each new token, and where in its frame it is.
    """

    def __init__(
        self,
        cache: FrameCache,
        rows: npt.NDArray[np.intp],
        counts: npt.NDArray[np.intp],
        last: npt.NDArray[np.intp] | None,
    ) -> None:
        device = cache.keys_values.device
        which = np.repeat(np.arange(len(rows)), counts)  # of the rows, that of each token
        offset = np.arange(len(which)) - (np.cumsum(counts) - counts)[which]
        row, place = rows[which], cache.length[rows][which] + offset
        self._cache = cache.keys_values
        self._behind, self._last = None, None
        if len(rows):
            padded = np.zeros((len(rows), counts.max()), dtype=np.intp)  # the token of each query; of padding, any
            padded[which, offset] = np.arange(len(which))
            self._behind = _Queries(th.from_numpy(place[padded]).to(device), int(place.max()) + 1, rows)
            self._padded = th.from_numpy(padded).to(device)
            self._real = th.from_numpy(which * padded.shape[1] + offset).to(device)
        if last is not None:
            self._last = LastTokens(cache, th.from_numpy(last).to(device), int(last.max()) + 1)
            row, place = np.concatenate((row, np.arange(len(last)))), np.concatenate((place, last))
        self.row, self.time = th.from_numpy(row).to(device), th.from_numpy(place).to(device)

    def attend(self, layer: int, window: int, queries: th.Tensor, keys: th.Tensor, values: th.Tensor) -> th.Tensor:
        """See ``attention.Cache``."""
        stored = self._cache[layer]
        stored[self.row, :, self.time] = th.stack((keys[0], values[0]), 2).transpose(0, 1)
        queries, mixed = queries[0].transpose(0, 1), []  # [M, H, K]
        ready = 0 if self._last is None else stored.shape[0]
        if self._behind is not None and len(queries) > ready:
            out = self._behind.attend(queries[self._padded].transpose(1, 2), stored, window)
            mixed.append(out.transpose(1, 2).flatten(0, 1)[self._real])
        if self._last is not None:
            mixed.append(self._last.mix(queries[-ready:], stored, window))
        return th.cat(mixed).transpose(0, 1)[None]


class LastTokens:
    """The cache while every row takes one more token; nothing but tensors say where.

    Args:
        cache: Of N rows.
        time: ``[N]`` where in its frame each token is.
        span: Tokens of a row that are looked at: all up to these, or more.
    """

    def __init__(self, cache: FrameCache, time: th.Tensor, span: int) -> None:
        self.row, self.time = th.arange(len(time), device=time.device), time
        self._cache, self._queries = cache.keys_values, _Queries(time[:, None], span)

    def attend(self, layer: int, window: int, queries: th.Tensor, keys: th.Tensor, values: th.Tensor) -> th.Tensor:
        """See ``attention.Cache``."""
        stored = self._cache[layer]
        stored[self.row, :, self.time] = th.stack((keys[0], values[0]), 2).transpose(0, 1)
        return self.mix(queries[0].transpose(0, 1), stored, window).transpose(0, 1)[None]

    def mix(self, queries: th.Tensor, stored: th.Tensor, window: int) -> th.Tensor:
        """Attends with ``[N, H, K]``, in place, to what is stored of a layer."""
        return self._queries.attend(queries[:, :, None], stored, window)[:, :, 0]


class _Queries:
    """Queries at ``place [B, T]`` of their rows, of which ``span`` tokens are seen; of all rows (None) in place."""

    def __init__(self, place: th.Tensor, span: int, rows: npt.NDArray[np.intp] | None = None) -> None:
        self._place, self._span = place, span
        self._rows = None if rows is None else th.from_numpy(rows).to(place.device)
        self._masks: dict[int, th.Tensor] = {}  # by the window of a layer

    def attend(self, queries: th.Tensor, stored: th.Tensor, window: int) -> th.Tensor:
        """Attends with ``[B, H, T, K]`` to what is stored of a layer, ``[N, H, C, 2, K]``."""
        seen = stored[:, :, : self._span] if self._rows is None else stored[self._rows, :, : self._span]
        if window not in self._masks:
            key, query = th.arange(self._span, device=stored.device), self._place[:, :, None]
            hidden = (key > query) | (key <= query - window) if window else key > query
            self._masks[window] = th.zeros(hidden.shape, device=key.device).masked_fill_(hidden, -th.inf)[:, None]
        return masked(queries, seen[:, :, :, 0], seen[:, :, :, 1], self._masks[window])
