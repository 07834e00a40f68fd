"""Every script in benchmarks/ treats its user as the two scripts do: a mistake is one line and status 2."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())


def run(script: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> object:
    monkeypatch.setattr(sys, "argv", [script.name, *flags])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_flag_that_does_not_exist_is_one_line(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, monkeypatch, "--wings") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{script.name}: ")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *((name, ("nowhere",)) for name in ("reference_table", "learning_curve", "test_time", "recall_measure")),
        *((name, ("nowhere",)) for name in ("long_thought", "results", "countdown", "tensorboard_check")),
        *((name, ("--repeats", "0")) for name in ("scaling", "throughput", "env")),
        *((name, ()) for name in ("reference_table", "learning_curve")),
        *((name, ("--threads", "0")) for name in ("long_context", "long_thought", "recall")),
        *((name, ("nowhere", "--n", "0")) for name in ("long_thought", "test_time", "results")),
        *((name, ("--seeds", "-1")) for name in ("direct", "ablations")),
        *(("recall_measure", ("nowhere", *flags)) for flags in (("--contexts", "0"), ("--lengths", "10"))),
        ("test_time", ("nowhere", "--votes", "bla")),
        ("recall", ("--steps", "0")),
        ("recall", ("--scheme", "left")),
    ],
)
def test_what_is_not_there_is_one_line(
    name: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ROOT / "benchmarks" / f"{name}.py", monkeypatch, *flags) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"{name}.py: ") and "accepted" in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_without_the_package_being_installed(script: Path) -> None:
    """`python benchmarks/x.py` has benchmarks/ on the path, not the checkout: the script must put it there."""
    text = script.read_text()
    inserted = text.index("sys.path.insert(0, str(Path(__file__).resolve().parents[1]))")
    own = re.compile(r"^(import|from) (o1nano|benchmarks|evaluate)", re.MULTILINE)
    assert inserted < min(found.start() for found in own.finditer(text))
