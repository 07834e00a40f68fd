"""Runs the lines of docs/agents.md and docs/language_models.md, each group of libraries in its own virtual environment.

python -m benchmarks.agents.run --workdir /tmp/agents
python -m benchmarks.agents.run --workdir /tmp/agents --only tianshou rllib
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "agents.md"
PAGES = (PAGE, ROOT / "docs" / "language_models.md")
VERSIONS = "import importlib.metadata as m, sys; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"


class Block(NamedTuple):
    """A fenced block of the page: the heading above it, its language, the group after the language, its lines."""

    title: str
    language: str
    group: str
    source: str


def blocks(page: str) -> list[Block]:
    """Returns every fenced block whose fence names a group, as in ``python tianshou``."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        for language, group, source in re.findall(r"^```(\w+) (\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            found.append(Block(title, language, group, source))
    return found


class Laboratory:
    """A virtual environment for one group of libraries.

    Args:
        group: The name of its requirements file.
        workdir: Where the environment is made, and its log; one that is there already is brought up to date.
    """

    def __init__(self, group: str, workdir: Path) -> None:
        self.requirements, self.folder, self.log = HERE / f"{group}.txt", workdir / group, workdir / f"{group}.log"
        self.environment = {**os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        self.environment["LOGS"] = str(workdir / f"{group}-logs")
        self.environment.pop("PYTHONPATH", None)  # nothing but what is installed
        workdir.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def install(self) -> str:
        """Installs the libraries and the package in one call, so that a conflict is an error; returns versions."""
        venv.create(self.folder, with_pip=True)
        self.call("python", "-m", "pip", "install", "-q", "-e", str(ROOT), "-r", str(self.requirements))
        lines = self.requirements.read_text().splitlines()
        names = [re.split(r"[\[<>=]", line)[0] for line in lines if line and line[0] != "#"]
        return self.call("python", "-c", VERSIONS, *dict.fromkeys(("gymnasium", "torch", *names))).strip()

    def run(self, block: Block) -> None:
        """Runs the lines of a block in the root of the repository."""
        program = {"python": ("python", "-c"), "bash": ("bash", "-euc")}[block.language]
        self.call(*program, block.source)

    def call(self, *command: str) -> str:
        """Returns what a command prints, and adds it to the log.

        Raises:
            CalledProcessError: If it fails.
        """
        done = subprocess.run(
            ["/usr/bin/env", *command], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=3600
        )
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        done.check_returncode()
        return done.stdout


def attempt(name: str, job: object, *arguments: object) -> bool:
    """Runs a job, prints a line about it, and returns whether it succeeded."""
    assert callable(job)
    started = time.monotonic()
    try:
        said = job(*arguments)
    except subprocess.SubprocessError as error:
        print(f"  RED    {name}: {type(error).__name__}", flush=True)
        return False
    print(f"  green  {name}, {time.monotonic() - started:.0f} s{f': {said}' if said else ''}", flush=True)
    return True


def main() -> int:
    """Returns 0 if every block of every group ran, otherwise 1."""
    found = [block for page in PAGES for block in blocks(page.read_text())]
    groups = list(dict.fromkeys(block.group for block in found))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="where the virtual environments go")
    parser.add_argument("--only", nargs="+", choices=groups, default=groups, help="the groups to run")
    options = parser.parse_args()
    failed = []
    for group in options.only:
        print(group, flush=True)
        laboratory = Laboratory(group, options.workdir.resolve())
        own = [block for block in found if block.group == group]
        jobs = [("install", laboratory.install), *((block.title, laboratory.run, block) for block in own)]
        if not all(attempt(*job) for job in jobs):  # stops at the first that fails: the log ends with it
            print(f"         {laboratory.log}")
            failed.append(group)
    print(f"failed: {', '.join(failed)}" if failed else "all green")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
