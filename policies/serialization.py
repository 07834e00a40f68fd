"""Files that are whole or not there: written beside their place, moved there, and sealed with a checksum.

A sealed file is what ``torch.save`` writes, and behind it a line with the SHA-256 of all that. ``torch.load`` ignores
the line; here a file that is cut off or altered anywhere does not agree with it. Reading executes nothing:
``weights_only=True`` builds tensors and plain containers, and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from o1nano.envs.errors import CheckpointError, StorageError

try:
    import fcntl
except ImportError:  # not on Windows, where nobody is kept from spoiling a run
    fcntl = None  # type: ignore[assignment]

_claimed: dict[Path, int] = {}

_MARK = b"\no1nano sha256 "
_LENGTH = len(_MARK) + 2 * hashlib.sha256().digest_size
# What reading a file can raise that is cut off, altered, or something else altogether.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OSError,
    MemoryError,
)


def write(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part, whenever the power fails.

    Raises:
        StorageError: If there is no room or no permission; the old file is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the new name, too
        os.close(folder)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise StorageError(f"cannot write {path} ({error.strerror}); accepted: a folder with room") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that people can read too."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def write_sealed(path: Path, content: Any) -> None:
    """Writes plain containers, tensors and arrays as a sealed file."""
    buffer = io.BytesIO()
    th.save(as_plain(content), buffer)
    payload = buffer.getvalue()
    write(path, payload + _MARK + hashlib.sha256(payload).hexdigest().encode())


def claim(folder: Path) -> None:
    """Makes a folder this process's own until it ends: two that wrote to one run would spoil it.

    Raises:
        StorageError: If another process has it.
    """
    if fcntl is None or folder in _claimed or not folder.is_dir():
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise StorageError(f"{folder} is in use by another process; accepted: a run that nobody trains") from error
    _claimed[folder] = handle


def read_sealed(path: str | Path, device: str | th.device = "cpu") -> tuple[Any, bool]:
    """Reads what ``write_sealed`` or ``torch.save`` has written; arrays come back as tensors.

    Returns:
        The content, and whether the file was sealed.

    Raises:
        CheckpointError: If the file cannot be read, does not agree with its seal, or holds anything but plain data.
    """
    try:
        payload = Path(path).read_bytes()
        seal = payload[-_LENGTH:]
        sealed = seal.startswith(_MARK)
        if sealed:
            payload = payload[:-_LENGTH]
            if hashlib.sha256(payload).hexdigest().encode() != seal[len(_MARK) :]:
                raise ValueError("its checksum does not agree")
        with warnings.catch_warnings():  # of pickles that are none of ours: they are refused anyway
            warnings.simplefilter("ignore")
            return th.load(io.BytesIO(payload), map_location=device, weights_only=True), sealed
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is cut off, damaged or no checkpoint ({reason(error)}); accepted: a file of train_rl.py"
        ) from error


def reason(error: BaseException) -> str:
    """Says in a few words why a file could not be read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:80]


def as_plain(value: Any) -> Any:
    """Turns arrays into tensors, and NumPy's numbers into Python's, in any containers."""
    if isinstance(value, np.ndarray):
        return th.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(as_plain, value))
    return value.cpu() if isinstance(value, th.Tensor) else value
