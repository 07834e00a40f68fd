"""Files that are whole or not there: written beside their place, moved there, and sealed with a checksum.

A sealed file is what ``torch.save`` writes, and behind it a line with the SHA-256 of all that. ``torch.load`` ignores
the line; here a file that is cut off or altered anywhere does not agree with it. Reading executes nothing:
``weights_only=True`` builds tensors and plain containers, and nothing else.
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
# What systems answer that cannot open, flush or lock a folder.
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

    A file that is replaced keeps its mode. Of a symbolic link the file that it points to is replaced.

    Args:
        path: The file; its folder is made if there is none.
        content: All of it.

    Raises:
        StorageError: If there is no room or no permission; the old file is as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(target.name + ".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise StorageError(f"cannot write {path} ({error.strerror}); expected a folder with room") from error


def _flush_folder(folder: Path) -> None:
    """Flushes the names of a folder's files to the disk, on systems that can: Windows and some file systems cannot.

    Raises:
        OSError: If the disk fails.
    """
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
    """Writes JSON that people can read too."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def write_sealed(path: Path, content: Any) -> None:
    """Writes plain containers, tensors and arrays as a sealed file."""
    buffer = io.BytesIO()
    th.save(to_plain(content), buffer)
    payload = buffer.getvalue()
    write(path, payload + _MARK + hashlib.sha256(payload).hexdigest().encode())


def lock_run(folder: Path) -> None:
    """Locks a folder until this process ends: two processes that wrote to one run would spoil it.

    Does nothing where folders cannot be locked: on Windows and on some network file systems.

    Args:
        folder: A run's.

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

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise StorageError(f"{folder} is in use by another process; expected a run that none trains") from error
        if error.errno not in _UNSUPPORTED:
            raise
        return
    _locked[folder] = handle


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
            f"{str(path)!r} is cut off, damaged or no checkpoint ({short_reason(error)}); "
            "expected a file of train_rl.py"
        ) from error


def short_reason(error: BaseException) -> str:
    """Says in a few words why a file could not be read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:80]


def to_plain(value: Any) -> Any:
    """Turns arrays into tensors, and NumPy's numbers into Python's, in any containers."""
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
    """Builds a dataclass from what ``dataclasses.asdict`` has made of one.

    Raises:
        ConfigurationError: If a field is unknown or has a value of another type.
    """
    hints = get_type_hints(kind)
    if not isinstance(content, Mapping) or not set(content) <= set(hints):
        unknown = sorted(map(str, set(content) - set(hints))) if isinstance(content, Mapping) else [repr(content)[:40]]
        raise ConfigurationError(f"{unknown[0]} in a {kind.__name__}; expected one of {', '.join(hints)}")
    return kind(**{name: _value(name, hints[name], value) for name, value in content.items()})


def _value(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return dataclass_from_dict(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        value = tuple(value)  # as configurations have them
    if not _fits(hint, value):
        raise ConfigurationError(f"{name}={value!r:.60}; expected {hint}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    """Tells whether a value is of an annotated type; True is no integer, and an integer is a float."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is Literal:
        return value in args
    if origin is Sequence or (origin is tuple and args[-1] is Ellipsis):
        return isinstance(value, tuple) and all(_fits(args[0], item) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, args, value))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint
