"""The comparison of variants: what each one changes, its figures, and that it continues where it was stopped."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from benchmarks.results import ablations
from benchmarks.results.ablation_report import FAMILIES, curves, estimate, interquartile_mean, small_average, solved
from benchmarks.results.ablations import VARIANTS, Options, config_of, flags_of
from o1nano.agents.run.cli import guarded
from o1nano.agents.run.tensorboard import flat
from o1nano.envs.errors import ConfigurationError
from tests.helpers.runs import SMALL_RUN, flags

# Without what the options say themselves.
COMMON = shlex.join(flags(replace(SMALL_RUN, name="", seed=0, iterations=1)))
COMMON = COMMON.replace("--iterations 1 ", "").replace("--seed 0 ", "")


def changes(variant: str) -> dict[str, Any]:
    """What a variant has other than the full recipe."""
    own, full = (flat(asdict(config_of(flags_of(name, Options(iterations=9))))) for name in (variant, "full"))
    return {name: value for name, value in own.items() if value != full[name] and name != "name"}


CHANGES: dict[str, dict[str, Any]] = {
    "full": {},
    "no_curriculum": {"curriculum.strategy": "uniform"},
    "kl": {"ppo.kl_coef": 0.1},
    "flat": {"call_stack": False, "frame_length": 1024},
    "no_imitation": {"ppo.imitation_coef": 0.0},
    "coupled": {"transformer.positions": "coupled"},
    "no_places": {"transformer.positions": "none"},
    "rotary": {"transformer.positions": "rotary"},
    "places": {"transformer.positions": "places"},
    "credit_frame": {"ppo.credit": "frame"},
    "credit_episode": {"ppo.credit": "episode"},
    "grpo": {"ppo.advantage": "group", "ppo.group_size": 8},
    "rloo": {"ppo.advantage": "leave_one_out", "ppo.group_size": 8},
    "critic_in_groups": {"ppo.group_size": 8},
}


@pytest.mark.parametrize("variant", CHANGES)
def test_a_variant_changes_what_it_is_called_after(variant: str) -> None:
    assert changes(variant) == CHANGES[variant]


def test_no_variant_is_forgotten_and_its_flags_win_over_common_ones() -> None:
    assert {*CHANGES, "supervised"} == set(VARIANTS)
    given = flags_of("kl", Options(common="--ppo.kl-coef 0.5 --sum-digits 5"))
    assert (config_of(given).ppo.kl_coef, config_of(given).sum_digits) == (0.1, 5)


def test_the_control_imitates_as_many_tokens_as_ppo_emits_and_imitates() -> None:
    found = changes("supervised")
    assert found.keys() == {"iterations", "warm_start.stop_at", "warm_start.steps"}
    assert (found["iterations"], found["warm_start.stop_at"]) == (0, None)
    full = config_of(flags_of("full", Options(iterations=9)))
    minibatches = full.ppo.n_epochs * round(full.ppo.n_envs * full.ppo.n_steps / full.ppo.batch_size)
    beside_ppo = 9 * minibatches
    further = (found["warm_start.steps"] - full.warm_start.steps - beside_ppo) * full.warm_start.batch_tokens
    share = ablations.emitted_share(full)
    assert 0.3 < share < 0.9
    ppo = 9 * full.ppo.n_envs * full.ppo.n_steps
    assert ppo <= further * share < ppo + full.warm_start.batch_tokens


def test_variants_that_differ_in_ppo_alone_share_a_warm_start() -> None:
    own = {variant for variant in VARIANTS if not ablations.shares_start(variant, Options())}
    assert own == {"supervised", "flat", "no_places", "rotary", "places", "coupled"}


def test_a_variant_that_is_none_is_named() -> None:
    with pytest.raises(ConfigurationError, match="variant 'wings'; expected full, supervised"):
        flags_of("wings", Options())


def test_a_family_is_solved_up_to_its_first_gap() -> None:
    cells = {"addition/1": 1.0, "addition/2": 0.9, "addition/3": 0.89, "addition/4": 1.0, "division/2": 1.0}
    assert [solved(cells, family) for family in FAMILIES] == [2, 0, 0, 0]


def test_the_average_is_of_small_sizes_of_the_four_operations() -> None:
    cells = {"addition/1": 1.0, "division/3": 0.5, "addition/4": 0.0, "expression/1x3": 0.0, "gcd/2": 0.0}
    assert small_average(cells) == 0.75


def test_sizes_that_the_curriculum_has_passed_count_in_curves(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step, (measured, opened) in enumerate([(0, 5), (3, 5), (0, 6), (0, 8), (0, 7), (9, 8)]):
            writer.add_scalar("solved/addition", measured, step)
            writer.add_scalar("curriculum/addition", opened, step)
    assert curves(tmp_path) == {
        "addition": [(0, 0.0), (1, 3.0), (2, 5.0), (3, 7.0), (4, 6.0), (5, 9.0), (5, 9.0)],
        **{family: [] for family in FAMILIES[1:]},
    }


def test_interquartile_means_by_hand() -> None:
    assert interquartile_mean(np.array([3.0, 1.0, 8.0])) == pytest.approx(4.0)
    assert interquartile_mean(np.array([[9.0, 1.0, 2.0, 4.0], [0.0, 0.0, 0.0, 1.0]])).tolist() == [
        3.0,
        0.0,
    ]
    assert interquartile_mean(np.arange(9.0)) == 4.0
    same = estimate([0.5, 0.5])
    assert same == {"mean": 0.5, "low": 0.5, "high": 0.5, "seeds": [0.5, 0.5]}
    spread = estimate([0.0, 1.0])
    assert (spread["mean"], spread["low"], spread["high"]) == (0.5, 0.0, 1.0)


def compare(monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ablations.py", *given])
    return guarded("ablations.py", ablations.compare)


@pytest.mark.parametrize(
    "given", [["--variants", "wings"], ["--common=--wings 2"], ["--common=--ppo.n-envs 0"], ["--iterations", "-1"]]
)
def test_mistakes_show_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, given: list[str]
) -> None:
    try:
        status: object = compare(monkeypatch, "--work", str(tmp_path / "work"), *given)
    except SystemExit as ended:  # by tyro
        status = ended.code
    assert status == 2
    said = capsys.readouterr().err
    assert any(word in said for word in ("expected", "--wings"))
    assert not (tmp_path / "work" / "runs").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"variants": []}', '{"variants": {"full": 1}}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ablations.json").write_text(text)
    with pytest.raises(ConfigurationError, match="is damaged; expected"):
        ablations.recorded(tmp_path / "ablations.json", {"full": []})


@pytest.mark.slow
def test_variants_are_trained_resumed_and_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--iterations", "2", "--seeds", "0", "--variants", "full", "supervised", "rloo", "rotary"]
    given += ["--work", str(tmp_path), f"--common={COMMON}"]
    once = ["--variants", "full"]
    popen, commands = ablations.subprocess.Popen, []

    def spy(command: list[str], **kwargs: Any) -> Any:
        commands.append(command[2:])
        return popen(command, **kwargs)

    monkeypatch.setattr(ablations.subprocess, "Popen", spy)
    (tmp_path / "runs" / "full-2-0" / "checkpoints").mkdir(parents=True)  # killed before it had begun
    assert compare(monkeypatch, *given, *once) == 0
    (tmp_path / "runs" / "full-2-0" / "results.json").unlink()  # as if it had been cut
    (tmp_path / "ablations.json").unlink()
    assert compare(monkeypatch, *given) == 0
    begun = [command[:2] for command in commands]
    assert begun[2] == ["--resume", "runs/full-2-0"] and len(commands) == 6
    started = [command[command.index("--name") + 1] for command in commands if "--init-from" in command]
    assert started == ["full-2-0", "rloo-2-0"]
    shutil.rmtree(tmp_path / "runs")
    assert compare(monkeypatch, *given) == 0 and len(commands) == 6  # all of them are recorded
    printed = capsys.readouterr().out
    for word in ("[4/4] rotary, seed 0", "| rloo |", "1 to 3 digits", "wrote"):
        assert word in printed
    report = json.loads((tmp_path / "ablations.json").read_text())["variants"]
    assert list(report) == ["full", "supervised", "rloo", "rotary"]
    for variant in report.values():
        (run,) = variant["runs"]
        assert set(run["solved"]) == set(FAMILIES) and run["cells"]["addition/1"] <= 1
        assert variant["summary"]["tokens"]["seeds"] == [run["tokens"]]
    runs = {name: found["runs"][0] for name, found in report.items()}
    ppo = 2 * 6 * 24
    assert {name: run["ppo_tokens"] for name, run in runs.items()} == {
        name: ppo * (name != "supervised") for name in runs
    }
    assert runs["rloo"]["tokens"] == runs["full"]["tokens"] == runs["rotary"]["tokens"]
    assert runs["supervised"]["tokens"] == pytest.approx(runs["full"]["tokens"], abs=128)  # within a step
    assert (tmp_path / "ablations.png").stat().st_size > 10_000
    assert compare(monkeypatch, *given, f"--common={COMMON} --ppo.clip-range 0.3") == 2
    assert "--iterations 2; expected those flags, or another --work" in capsys.readouterr().err
