"""Every benchmark treats its user as the two scripts do: a mistake is one line and status 2."""

from __future__ import annotations

import runpy
import sys

import pytest

from tests.helpers.paths import ROOT

FOLDERS = ("speed", "results", "recipes")
SCRIPTS = sorted(
    f"benchmarks.{folder}.{path.stem}"
    for folder in FOLDERS
    for path in (ROOT / "benchmarks" / folder).glob("*.py")
    if "__main__" in path.read_text()
)


def run(module: str, monkeypatch: pytest.MonkeyPatch, *flags: str) -> object:
    """Runs ``python -m MODULE`` in this process; returns the exit status."""
    monkeypatch.setattr(sys, "argv", [module, *flags])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / module.replace(".", "/")) + ".py", run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_flag_that_does_not_exist_is_named(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(module, monkeypatch, "--wings") == 2
    said = capsys.readouterr().err
    assert ("--wings" in said or "Missing argument" in said) and "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *(
            (name, ("nowhere",))
            for name in ("reference_table", "learning_curve", "length_law", "inference_scaling", "recall_measure")
        ),
        *((name, ("nowhere",)) for name in ("long_thought", "shipped_model", "countdown", "tensorboard_check")),
        *((name, ("--repeats", "0")) for name in ("scaling", "throughput", "env")),
        *((name, ("--against", "nowhere")) for name in ("decode", "train_step")),
        *(("decode", flags) for flags in (("--rows", "0"), ("--rounds", "0"))),
        ("throughput", ("--threads", "0")),
        *(("curricula", flags) for flags in (("--sizes", "0"), ("--seeds", "0"))),
        *((name, ()) for name in ("reference_table", "learning_curve", "length_law")),
        *((name, ("--threads", "0")) for name in ("long_context", "long_thought", "recall")),
        *((name, ("nowhere", "--n", "0")) for name in ("long_thought", "inference_scaling", "shipped_model")),
        *((name, ("--seeds", "-1")) for name in ("direct", "ablations")),
        *(("recall_measure", ("nowhere", *flags)) for flags in (("--contexts", "0"), ("--lengths", "10"))),
        ("inference_scaling", ("nowhere", "--votes", "bla")),
        ("inference_scaling", ("nowhere", "--out", ".")),
        ("recall", ("--steps", "0")),
        ("registered_ids", ("--ids", "Chess-v0")),
        ("registered_ids", ("--n", "0")),
    ],
)
def test_what_is_not_there_is_one_line(
    name: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = next(script for script in SCRIPTS if script.endswith(f".{name}"))
    assert run(module, monkeypatch, *flags) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"{name}.py: ") and "expected" in said
