"""What the documentation site has besides the pages of docs/. MkDocs calls the functions named on_... (mkdocs.yml).

Pages link to files outside docs/, as GitHub allows: model cards, sources, data. The site gets a page for each of these
files, and the links lead there. The README is the first page.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
CODE = {".py": "python", ".yml": "yaml", ".cff": "yaml", ".txt": "text", "": "text"}  # shown as a page

# A link or a picture, in Markdown or in HTML: what comes before its target, the target, and a place in it.
LINK = re.compile(r'(\]\(|src="|href=")(?!\w+:|#|/)([^)\s"#]+)(#[^)\s"]*)?')
# Code whose mark has a second word, for the tests (docs/agents.md). Python-Markdown knows one word only.
MARK = re.compile(r"^(```\w+) [\w -]+$", re.MULTILINE)

_packages = tempfile.TemporaryDirectory(prefix="o1nano-docs-")


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Shows mkdocstrings the packages as an installation has them: envs, policies and agents inside o1nano."""
    package = Path(_packages.name) / "o1nano"
    if not package.exists():
        package.mkdir()
        folders = ("envs", "policies", "agents", "playground")
        sources = [*(ROOT / "o1nano").glob("*.py"), *(ROOT / folder for folder in folders)]
        for source in sources:
            (package / source.name).symlink_to(source)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_packages.name]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the README and every file outside docs/ that a page links to."""
    waiting = [README, *DOCS.glob("*.md")]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if DOCS not in source.parents:
            files.append(_added(source, config))
        new = set(_linked(source)) - seen if source.suffix == ".md" else set()
        seen |= new
        waiting += [path for path in new if DOCS not in path.parents]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to files outside docs/ at their pages in the site."""
    place = page.file.src_uri
    origin = next((path for path in _outside(files) if _uri(path) == place), DOCS / place)

    def replaced(link: re.Match[str]) -> str:
        before, target, anchor = link.groups()
        path = _resolve(origin, target)
        if path is None:
            return link[0]  # MkDocs reports it
        return f"{before}{os.path.relpath(_uri(path), os.path.dirname(place) or '.')}{anchor or ''}"

    return MARK.sub(r"\1", LINK.sub(replaced, markdown))


def _linked(source: Path) -> Iterator[Path]:
    """Yields the files that a page links to."""
    for link in LINK.finditer(source.read_text()):
        path = _resolve(source, link[2])
        if path is not None:
            yield path


def _resolve(source: Path, target: str) -> Path | None:
    """Returns the file of the checkout that a link leads to, or None for a link without one."""
    path = Path(os.path.normpath(source.parent / target))
    return path if path.is_file() and ROOT in path.parents else None


def _uri(path: Path) -> str:
    """Returns the place of a file of the checkout among the sources of the site."""
    if path == README:
        return "index.md"
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    # The name is kept whole: evaluate.py and evaluate.md are two pages.
    name = path.relative_to(ROOT).as_posix()
    return f"files/{name}.md" if path.suffix in CODE else f"files/{name}"


def _added(path: Path, config: MkDocsConfig) -> File:
    """Returns a file outside docs/ as a file of the site."""
    if path.suffix not in CODE:
        return File.generated(config, _uri(path), abs_src_path=str(path))
    name = path.relative_to(ROOT).as_posix()
    fence = "`" * 8
    content = f"# {name}\n\n{fence}{CODE[path.suffix]}\n{path.read_text()}\n{fence}\n"
    return File.generated(config, _uri(path), content=content)


def _outside(files: Files) -> Iterator[Path]:
    """Yields the files outside docs/ that have a page."""
    yield README
    for file in files.documentation_pages():
        if file.src_uri.startswith("files/"):
            name = file.src_uri.removeprefix("files/")
            yield ROOT / name if (ROOT / name).is_file() else ROOT / name.removesuffix(".md")
