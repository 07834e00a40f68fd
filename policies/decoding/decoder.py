"""Incremental decoding: log-probabilities and values of the next token, from observations and a cache.

A step shows the decoder the top frame of every row, as the environment observes it. The block cache finds out from the
tokens alone what is new; the forward pass computes that and stores its keys and values. So a caller can show any frames
in any order, and only the speed depends on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.decoding.block_cache import BlockCache
from o1nano.policies.decoding.compiled_forward import CompiledForward
from o1nano.policies.decoding.layout import BLOCK, NUM_FIELDS
from o1nano.policies.decoding.torch_forward import TorchForward
from o1nano.policies.network.model import ReasoningNetwork


class Decoder:
    """Decodes N rows together.

    Args:
        network: The network. Call ``reload`` after a change of its weights.
        rows: N.
        frame_length: L, the length of an observation.
        bf16: Whether matrix products are in bfloat16 where that is faster.
        half: Whether keys and values are stored in bfloat16.
        compiled: Whether to use compiled loops instead of PyTorch's operations; by default on a CPU.
        tokens: Most tokens of a forward pass. Longer prompts take several.

    Attributes:
        computed: Tokens that were computed so far.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        rows: int,
        frame_length: int,
        bf16: bool = False,
        half: bool = False,
        compiled: bool | None = None,
        tokens: int = 2048,
    ) -> None:
        self.network = network
        self.shape = (rows, frame_length)
        self.device = next(network.parameters()).device
        self.computed = 0

        # Layers with the same window share their block tables.
        config = network.config
        windows = tuple(sorted({config.window(layer) for layer in range(config.layers)}))
        # Two full frames for each row: most rows need less. The system provides memory when blocks are first written.
        blocks = 2 * rows * -(-frame_length // BLOCK)
        self.cache = BlockCache(rows, frame_length, windows, blocks)

        tokens = min(tokens, rows * frame_length)
        if compiled is None:
            compiled = self.device.type == "cpu"
        self._forward: CompiledForward | TorchForward
        if compiled:
            self._forward = CompiledForward(network, frame_length, tokens, bf16, half)
        else:
            self._forward = TorchForward(network, frame_length, bf16, half)

        self._fields = np.zeros((NUM_FIELDS, tokens), dtype=np.int32)
        self._ends = np.zeros(rows, dtype=np.int32)
        self._rows = np.zeros(rows, dtype=np.int32)
        self._log_probs = np.zeros((rows, VOCAB_SIZE), dtype=np.float32)
        self._values = np.zeros(rows, dtype=np.float32)

    @property
    def shared(self) -> int:
        """Tokens of new frames that other frames had computed, so far."""
        return self.cache.shared

    @property
    def bytes(self) -> int:
        """Memory of the keys and values of all open frames, in bytes."""
        config = self.network.config
        used = dict(zip(self.cache.state.windows.tolist(), self.cache.used.tolist(), strict=True))
        blocks: int = sum(used[config.window(layer)] for layer in range(config.layers))
        return blocks * self._forward.block_bytes

    def reload(self) -> None:
        """Reads the weights of the network again, and forgets what was computed with the old ones."""
        self._forward.pack()
        self.cache.clear()

    def clear(self, row: int) -> None:
        """Announces that another call stack replaces that of a row. It can still share the old frames' prefixes."""
        self.cache.state.stale[row] = True

    def step(self, observations: npt.NDArray[np.integer]) -> tuple[th.Tensor, th.Tensor]:
        """Computes the distribution of the next token, and the value, for every row.

        Args:
            observations: ``[N, L]`` token ids, padded with 0. An empty row keeps its last result.

        Returns:
            ``[N, V]`` log-probabilities and ``[N]`` values.
        """
        shown = np.ascontiguousarray(observations, dtype=np.uint8)
        if shown.shape != self.shape:
            raise ConfigurationError(f"observations of shape {shown.shape}; expected {self.shape}")

        try:
            self._compute_new_tokens(shown)
        except BaseException:
            self.cache.clear()  # blocks were given to tokens whose keys and values were never computed
            raise

        log_probs = th.from_numpy(self._log_probs.copy()).to(self.device)
        values = th.from_numpy(self._values.copy()).to(self.device)
        return log_probs, values

    def _compute_new_tokens(self, shown: npt.NDArray[np.uint8]) -> None:
        """Runs forward passes until every token of the shown frames is in the cache."""
        cache = self.cache
        successor = self.network.grammar.successor
        cache.begin_step()
        while True:
            tokens, ended = cache.collect(shown, successor, self._fields, self._ends, self._rows)
            if not tokens:
                return
            self.computed += tokens
            self._forward.make_room(cache.blocks)
            self._forward(
                self._fields[:, :tokens],
                self._ends[:ended],
                self._rows[:ended],
                cache.state.tables,
                self._log_probs,
                self._values,
            )
