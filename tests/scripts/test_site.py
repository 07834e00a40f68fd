"""The documentation site: it builds strictly, and has what the pages call public."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

ENVIRONMENT = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme, not a warning about the site
LOADED = re.compile(r'<(?:script|img|source|iframe)\b[^>]*\bsrc="(\w+:)?//|<link\b[^>]*\bhref="(\w+:)?//')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def documented(site: Path) -> set[str]:
    """The names that the API reference has, from the inventory that other projects' pages link with."""
    inventory = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(inventory.split(b"\n", 4)[4]).decode().splitlines()
    return {line.split()[0] for line in lines}


def imported(page: Path) -> set[str]:
    """The names of o1nano that the code of a page imports."""
    names = set()
    for block in re.findall(r"^```python.*?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("o1nano."):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.integration
@pytest.mark.parametrize("name", ["README.md", "docs/reuse.md", "docs/inference.md", "docs/environment.md"])
def test_the_reference_has_what_a_page_imports(site: Path, name: str) -> None:
    names = imported(ROOT / name)
    assert names and names <= documented(site)


@pytest.mark.integration
def test_the_environment_has_its_page_from_the_docstring(site: Path) -> None:
    page = (site / "reference" / "environment" / "index.html").read_text()
    for heading in ("Description", "Action Space", "Observation Space", "Rewards", "Episode End", "Version History"):
        assert re.search(rf"<h\d[^>]*>{heading}<", page)


@pytest.mark.integration
def test_the_readme_is_the_first_page_and_its_links_stay_in_the_site(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert "calls itself on subtasks" in page
    for target in ("how_it_works/", "results/", "files/pretrained/", "files/CONTRIBUTING/", "images/learning.png"):
        assert f'"{target}"' in page
        assert (site / target).exists()


@pytest.mark.integration
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [page for page in pages if LOADED.search(page.read_text())] == []


@pytest.mark.integration
@pytest.mark.parametrize("word", ["GymnasiumVecEnv", "casting out nines", "action_masks"])
def test_the_search_finds_words_of_pages_and_of_the_reference(site: Path, word: str) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any(word in document["title"] + document["text"] for document in index["docs"])
