"""Programs whose output or input is closed, and flags that make no sense."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from o1nano.agents.run.cli import guarded, parse
from tests.helpers.paths import ROOT

PROGRAM = """
import sys, time
from pathlib import Path
from o1nano.agents.run.cli import guarded
from o1nano.agents.run.progress import Display


def main():
    display = Display()
    for phase in ("one", "two"):
        display.begin(phase, 3)
        for done in range(3):
            display.update(done, "facts")
            display.sample("a sample")
            display.print("line")
            time.sleep(0.3 if display.live else 0)
        display.end()
    sys.stdout.flush()
    print("warning", file=sys.stderr)
    Path("done").touch()


if __name__ == "__main__":
    sys.exit(guarded("program.py", main, needs_output=sys.argv[1] == "needed"))
"""


def start(folder: Path, needed: str = "not needed", **streams: int) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, "program.py", needed],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **streams,
    )


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_program_continues_after_its_reader_has_gone(tmp_path: Path, closed: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if closed == "stdout" else "stdout"
    process = start(tmp_path, **{closed: writer, other: subprocess.PIPE})
    os.close(writer)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "done").exists()
    if closed == "stdout":
        assert err == "warning\n"
    else:
        assert out.count("line\n") == 6


def test_a_program_continues_after_its_terminal_has_gone(tmp_path: Path) -> None:
    terminal, program_side = pty.openpty()
    process = start(tmp_path, stdout=program_side, stderr=program_side)
    os.close(program_side)
    assert os.read(terminal, 1)  # the live display has begun
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_ends_only_programs_that_need_it(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = start(tmp_path, "not needed", stdout=full.fileno(), stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "warning\n")
        assert (tmp_path / "done").exists()

        process = start(tmp_path, "needed", stdout=full.fileno(), stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("program.py: No space left on device") and err.count("\n") == 1


def test_a_program_can_begin_without_any_stream(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f"exec {sys.executable} program.py needed <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("script", ["evaluate.py", "train_rl.py"])
@pytest.mark.integration
def test_help_ends_quietly_without_a_reader(script: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script), "--help"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@dataclass(frozen=True)
class Flags:
    """Some flags."""

    n: int = 1
    """How many."""


@pytest.mark.parametrize("given", [["--problems-per-level", "x"], ["--problems-per-level"], ["--wings", "2"], ["2"]])
def test_flags_that_make_no_sense_end_with_status_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        guarded("program.py", lambda: parse(Flags, "About.", given).n)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert given[0] in said.err
