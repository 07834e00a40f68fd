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


def test_a_change_of_another_file_with_compiled_functions_is_noticed(tmp_path: Path) -> None:
    versions = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "caller.py").write_text(SOURCE)
        (folder / "called.py").write_text(SOURCE.replace("x + x", f"{number} * x"))
        versions.append(sources_digest(folder))
    assert versions[0] != versions[1]


def test_a_change_of_other_files_is_not(tmp_path: Path) -> None:
    versions = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "caller.py").write_text(SOURCE)
        (folder / "other.py").write_text(f"NUMBER = {number}")
        versions.append(sources_digest(folder))
    assert versions[0] == versions[1]


def test_cached_files_are_named_after_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    installed(tmp_path / "package").double(2)
    names = [path.name for path in tmp_path.rglob("*.nb[ic]")]
    assert names and all(sources_digest() in name for name in names)
