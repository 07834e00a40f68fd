"""Incremental decoding: log-probabilities and values of the next token, from observations and a cache.

A decoder is shown the top frame of every row, as the environment's observation shows it. It works out by itself what
has happened since the last step and computes only what is new: see ``block_cache``. Nothing but the tokens decides
that, so a caller can show it anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.policies.decoding.block_cache import SHARED, BlockCache
from o1nano.policies.decoding.compiled_forward import CompiledForward
from o1nano.policies.decoding.kernels import BLOCK, NONE
from o1nano.policies.decoding.torch_forward import TorchForward
from o1nano.policies.network.model import ReasoningNetwork


class Decoder:
    """Decodes N rows together.

    Args:
        network: The network. After a change of its weights ``reload`` must be called.
        rows: N.
        frame_length: L, tokens of an observation.
        bf16: Whether matrix products are in bfloat16 where that is faster.
        half: Whether keys and values are kept in 16 bits.
        compiled: Whether by compiled loops instead of PyTorch's operations; by default on a CPU.
        tokens: Most tokens that are computed together; longer prompts take several passes.

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
        self.network, self.shape = network, (rows, frame_length)
        self.device = next(network.parameters()).device
        self.computed = 0
        config = network.config
        windows = tuple(sorted({config.window(layer) for layer in range(config.layers)}))
        # Two full frames a row: most rows have less. Memory is taken when blocks are first written.
        self.cache = BlockCache(rows, frame_length, windows, 2 * rows * -(-frame_length // BLOCK))
        tokens = min(tokens, rows * frame_length)
        on_cpu = self.device.type == "cpu" if compiled is None else compiled
        self._forward = (
            CompiledForward(network, frame_length, tokens, bf16, half)
            if on_cpu
            else TorchForward(network, frame_length, bf16, half)
        )
        self._inputs = np.zeros((NONE + 1, tokens), dtype=np.int32)
        self._ends = np.zeros(rows, dtype=np.int32)
        self._rows = np.zeros(rows, dtype=np.int32)
        self._log_probs = np.zeros((rows, VOCAB_SIZE), dtype=np.float32)
        self._values = np.zeros(rows, dtype=np.float32)

    @property
    def shared(self) -> int:
        """Tokens of new frames that other frames had computed."""
        return int(self.cache.progress[SHARED])

    @property
    def bytes(self) -> int:
        """Memory of the keys and values of all open frames."""
        config, windows = self.network.config, self.cache.book.windows.tolist()
        layers = [windows.index(config.window(layer)) for layer in range(config.layers)]
        return sum(int(self.cache.used[group]) for group in layers) * self._forward.block_bytes

    def reload(self) -> None:
        """Reads the weights of the network again, and forgets what was computed with others."""
        self._forward.pack()
        self.cache.clear()

    def clear(self, row: int) -> None:
        """Says that another call stack takes the place of a row's; what both have in common is not computed again."""
        self.cache.book.stale[row] = True

    def step(self, observations: npt.NDArray[np.integer]) -> tuple[th.Tensor, th.Tensor]:
        """Computes what follows the frames shown.

        Args:
            observations: ``[N, L]`` token ids, padded with 0. An empty row keeps its last result.

        Returns:
            ``[N, V]`` log-probabilities and ``[N]`` values.
        """
        cache, successor = self.cache, self.network.grammar.successor
        shown = np.ascontiguousarray(observations, dtype=np.uint8)
        if shown.shape != self.shape:
            raise ConfigurationError(f"observations of shape {shown.shape}; expected {self.shape}")
        cache.begin()
        try:
            while True:
                tokens, ended = cache.gather(shown, successor, self._inputs, self._ends, self._rows)
                if not tokens:
                    break
                self.computed += tokens
                self._forward.make_room(cache.blocks)
                self._forward(
                    self._inputs[:, :tokens],
                    self._ends[:ended],
                    self._rows[:ended],
                    cache.book.tables,
                    self._log_probs,
                    self._values,
                )
        except BaseException:
            cache.clear()  # some tokens are listed whose keys and values were never computed
            raise
        return th.from_numpy(self._log_probs.copy()).to(self.device), th.from_numpy(self._values.copy()).to(self.device)
