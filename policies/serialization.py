"""Files that are complete or absent: written to a temporary file, renamed, and sealed with a checksum.

A sealed file is the output of ``torch.save`` followed by a line with its SHA-256. ``torch.load`` ignores the line. Here
it reveals a file that is cut off or altered. Reading executes nothing: ``weights_only=True`` builds tensors and plain
containers only.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch as th

from o1nano.envs.errors import CheckpointError, ConfigurationError, StorageError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

_locked: dict[Path, int] = {}
# Errors of systems that cannot open, flush or lock a folder.
_UNSUPPORTED = {
    errno.EACCES,
    errno.EPERM,
    errno.EBADF,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}

_MARK = b"\no1nano sha256 "
_LENGTH = len(_MARK) + 2 * hashlib.sha256().digest_size
# What reading can raise if a file is cut off, altered, or of another kind.
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
    """Writes a file atomically: even after a power failure there is the old one or the new one, never a part.

    A replaced file keeps its mode. If the path is a symbolic link, the file that it points to is replaced.

    Args:
        path: The file. Its folder is created if it is missing.
        content: All bytes of the file.

    Raises:
        StorageError: If there is no room or no permission. The old file stays as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(target.name + ".tmp")
    try:
        # The content must be on the disk before the name points to it.
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

        # The new file would otherwise have the default mode.
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise StorageError(f"cannot write {path} ({error.strerror}); expected a folder with room") from error


def _flush_folder(folder: Path) -> None:
    """Flushes the names of a folder's files to the disk. Windows and some file systems cannot; there it does nothing.

    Raises:
        OSError: If the disk fails.
    """
    # A rename is safe only when the folder itself has reached the disk.
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def write_json(path: Path, content: Any) -> None:
    """Writes JSON with indentation.

    Args:
        path: The file.
        content: Plain values.
    """
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def write_sealed(path: Path, content: Any) -> None:
    """Writes a sealed file.

    Args:
        path: The file.
        content: Plain containers, tensors and arrays.
    """
    buffer = io.BytesIO()
    th.save(to_plain(content), buffer)
    payload = buffer.getvalue()
    write(path, payload + _MARK + hashlib.sha256(payload).hexdigest().encode())


def lock_run(folder: Path) -> None:
    """Locks the folder of a run until this process ends, since two processes would damage each other's files.

    On Windows and some network file systems folders cannot be locked. There this does nothing.

    Args:
        folder: The run's.

    Raises:
        StorageError: If another process has locked it.
    """
    if fcntl is None or folder in _locked or not folder.is_dir():
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        raise

    # The lock belongs to the open file: it ends with the process, whatever ends that.
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise StorageError(f"{folder} is in use by another process; expected a run that is not running") from error
        if error.errno not in _UNSUPPORTED:
            raise
        return
    _locked[folder] = handle


def read_sealed(path: str | Path, device: str | th.device = "cpu") -> tuple[Any, bool]:
    """Reads a file that ``write_sealed`` or ``torch.save`` has written. Arrays come back as tensors.

    Args:
        path: The file.
        device: Where tensors are put.

    Returns:
        The content, and whether the file has a seal.

    Raises:
        CheckpointError: If the file cannot be read, its checksum is wrong, or it holds anything but plain data.
    """
    try:
        # The seal is compared with the bytes, before anything interprets them.
        payload = Path(path).read_bytes()
        seal = payload[-_LENGTH:]
        sealed = seal.startswith(_MARK)
        if sealed:
            payload = payload[:-_LENGTH]
            if hashlib.sha256(payload).hexdigest().encode() != seal[len(_MARK) :]:
                raise ValueError("its checksum is wrong")

        # PyTorch warns of foreign pickles, but these are refused anyway.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return th.load(io.BytesIO(payload), map_location=device, weights_only=True), sealed
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is cut off, damaged or not a checkpoint ({short_reason(error)}); "
            "expected a file of train_rl.py"
        ) from error


def short_reason(error: BaseException) -> str:
    """Returns in at most 80 characters why a file could not be read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:80]


def to_plain(value: Any) -> Any:
    """Turns arrays into tensors and NumPy's numbers into Python's.

    Args:
        value: Any nesting of containers.
    """
    if isinstance(value, np.ndarray):
        return th.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_plain, value))
    return value.cpu() if isinstance(value, th.Tensor) else value


def dataclass_from_dict(kind: type[T], content: Any) -> T:
    """Builds a dataclass from the output of ``dataclasses.asdict``, and checks every value against its annotation.

    Args:
        kind: The dataclass.
        content: A mapping of its fields. Nested dataclasses are mappings too.

    Raises:
        ConfigurationError: If a field is unknown or has a value of another type.
    """
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{content!r:.40} instead of a {kind.__name__}; expected a mapping")
    hints = get_type_hints(kind)
    for name in content:
        if name not in hints:
            raise ConfigurationError(f"unknown {name!s:.40} in a {kind.__name__}; expected one of {', '.join(hints)}")

    values = {}
    for name, value in content.items():
        values[name] = _value(name, hints[name], value)
    return kind(**values)


def _value(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return dataclass_from_dict(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        # Configurations hold tuples, but JSON and torch.load give lists.
        value = tuple(value)
    if not _fits(hint, value):
        raise ConfigurationError(f"{name}={value!r:.60}; expected {hint}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    """Returns whether a value has an annotated type. True is not an integer, but an integer is a float."""
    origin = get_origin(hint)
    args = get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is Literal:
        return value in args
    if origin is Sequence or (origin is tuple and args[-1] is Ellipsis):
        return isinstance(value, tuple) and all(_fits(args[0], item) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, args, value))
    # isinstance would take True for an integer.
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint
