"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from o1nano.envs.errors import StorageError
from o1nano.policies import serialization as files


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
@pytest.mark.parametrize("answer", [errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_opened_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    original = os.open

    def refuse(path: str | Path, flags: int, *given: int) -> int:
        if os.path.isdir(path):
            raise OSError(answer, os.strerror(answer))
        return original(path, flags, *given)

    before = descriptors()
    monkeypatch.setattr(os, "open", refuse)
    files.write(tmp_path / "file", b"content")
    files.lock_run(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert descriptors() == before


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_folder_that_cannot_be_flushed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    flush_or_fail(monkeypatch, answer)
    before = descriptors()
    files.write(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert descriptors() == before


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush_or_fail(monkeypatch, errno.EIO)
    before = descriptors()
    with pytest.raises(StorageError, match="Input/output error"):
        files.write(tmp_path / "file", b"content")
    assert descriptors() == before


def flush_or_fail(monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    """Makes the flushing of folders an error; files are flushed as ever."""
    original = os.fsync

    def flush(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(answer, os.strerror(answer))
        original(handle)

    monkeypatch.setattr(os, "fsync", flush)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are those of POSIX")
@pytest.mark.parametrize("answer", [errno.EBADF, errno.ENOLCK, errno.EINVAL])
def test_a_folder_that_cannot_be_locked_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    import fcntl

    def refuse(handle: int, operation: int) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = descriptors()
    files.lock_run(tmp_path)
    assert descriptors() == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
def test_the_mode_of_a_file_survives_a_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="links are those of POSIX")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_survives_a_write(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "elsewhere" / "file"
    if exists:
        files.write(target, b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    files.write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]
