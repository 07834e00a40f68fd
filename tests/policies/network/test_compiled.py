"""Compiled loops: kept on disk where a folder can be written, compiled all the same where none can."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from o1nano.policies.network.compiled import sources_digest

SOURCE = """
from o1nano.policies.network.compiled import compiled


@compiled
def double(x):
    return x + x
"""


def installed(folder: Path) -> ModuleType:
    """A module with a compiled function, in a folder that nothing can be written to: not even by an administrator."""
    (folder / "__pycache__").write_text("")  # where numba wants a folder
    path = folder / "loops.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("loops", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_read_only_installation_is_compiled_to_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert installed(tmp_path / "package").double(2) == 4
    assert list(tmp_path.rglob("*.nbc"))


def test_without_any_folder_to_write_to_it_is_compiled_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setenv("HOME", "/proc/none")
    assert installed(tmp_path / "package").double(3) == 6
    assert not list(tmp_path.rglob("*.nbc"))


def digest_beside(folder: Path, source: str) -> str:
    """The digest of a folder with a compiled function and another file."""
    folder.mkdir()
    (folder / "caller.py").write_text(SOURCE)
    (folder / "other.py").write_text(source)
    return sources_digest(folder)


@pytest.mark.parametrize(
    ("first", "second", "is_noticed"),
    [(SOURCE, SOURCE.replace("x + x", "2 * x"), True), ("NUMBER = 1", "NUMBER = 2", False)],
)
def test_changes_of_files_with_compiled_functions_are_noticed(
    tmp_path: Path, first: str, second: str, is_noticed: bool
) -> None:
    before = digest_beside(tmp_path / "before", first)
    after = digest_beside(tmp_path / "after", second)
    assert (before != after) is is_noticed


def test_cached_files_are_named_after_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    installed(tmp_path / "package").double(2)
    names = [path.name for path in tmp_path.rglob("*.nb[ic]")]
    assert names and all(sources_digest() in name for name in names)
