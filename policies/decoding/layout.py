"""How decoding lays out its arrays: the fields of a token, the block size, and array types."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 16
"""Tokens of a cache block: their scores fill one vector register of 512 bits, or two of 256."""
LANES = 8
"""The dimensions of a head are padded with zeros to a multiple of this."""

# Rows of ``fields [10, M]``, the integers that describe the new tokens of a step. The first six are written by
# ``frame_scan``. NO_POSITION is always 0: heads that are not rotated take it as their position.
PLACE, ROLE, OFFSET, STATE, COLUMN, COLUMN_ROLE, TIME, TOKEN, FRAME, NO_POSITION = range(10)
NUM_FIELDS = 10

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]  # float32, or the bits of bfloat16 as uint16
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
