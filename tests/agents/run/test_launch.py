"""A run in several processes that the script starts by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from o1nano.agents.learning.distributed import Team
from o1nano.agents.run import launch
from o1nano.agents.run import run as training
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.agents.run.run import prepare
from o1nano.envs.errors import ConfigurationError
from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN, flags

TWO = replace(SMALL_RUN, processes=2, epochs=16, checkpoint_every=2)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "cores", lambda: 8)
    yield


@pytest.mark.parametrize(
    "asked, processes, threads",
    [
        (TrainConfig(device="cpu"), 4, 2),  # no more: nobody has measured more
        (TrainConfig(device="cpu", ppo=PPOConfig(n_envs=15)), 3, 2),  # equal shares of the environments
        (TrainConfig(device="cpu", threads=1), 1, 1),
        (TrainConfig(device="cpu", threads=3, processes=2), 2, 3),
        (TrainConfig(device="cpu", processes=8), 8, 1),
    ],
)
def test_cores_become_processes(eight_cores: None, asked: TrainConfig, processes: int, threads: int) -> None:
    config = prepare(asked)
    assert (config.processes, config.threads) == (processes, threads)


def test_what_torchrun_has_started_is_what_there_is(eight_cores: None) -> None:
    config = prepare(TrainConfig(), Team(0, 8, 4))
    assert (config.processes, config.threads) == (8, 2)
    with pytest.raises(ConfigurationError, match="processes=2 of 8 that run; accepted: 8"):
        prepare(TrainConfig(processes=2), Team(0, 8, 4))


def test_others_end_with_the_first_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(os.environ['WORLD_SIZE'])\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    before = dict(os.environ)

    def join() -> Team:
        assert (os.environ["RANK"], os.environ["WORLD_SIZE"], launch.is_started()) == ("0", "3", True)
        while {path.name for path in tmp_path.glob("[0-9]")} != {"1", "2"}:
            time.sleep(0.01)
        return Team(0, 3, 3)

    def work(team: Team) -> int:
        assert team.size == 3
        raise ValueError("broken")

    monkeypatch.setattr(Team, "join", join)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "1"])
    assert launch.with_others(3, lambda team: 0) == 0
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "1000"])
    assert launch.with_others(3, lambda team: 130) == 130  # nobody waits for those who sleep
    with pytest.raises(ValueError, match="broken"):
        launch.with_others(3, work)
    assert dict(os.environ) == before and not launch.is_started()
    assert launch.with_others(1, lambda team: 7 * team.size) == 7


def test_one_that_cannot_start_is_noticed(tmp_path: Path) -> None:
    lines = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from o1nano.agents.run.launch import with_others"
    command = [sys.executable, "-c", f"{lines}; sys.argv = ['nowhere.py']; with_others(2, lambda team: 0)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2
    assert done.stderr.endswith("another process of the run has not started; accepted: --processes 1\n")


def start(folder: Path, *given: str) -> subprocess.Popen[str]:
    """Starts the script in a group of its own, as a terminal does."""
    command = [sys.executable, str(ROOT / "train_rl.py"), "--quiet", *given]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)


def resume(folder: Path) -> tuple[int, str]:
    """Goes on with the run to its end; returns the exit status and what was said."""
    process = start(folder, "--resume", "runs/small")
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path, serial: int) -> int:
    """Waits until a run has so many checkpoints; returns the number of its other process."""
    while not (run / "checkpoints" / f"{serial:06}.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the other process in /proc")
def test_two_processes_save_at_ctrl_c_and_go_on(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "small"
    process = start(tmp_path, *flags(TWO))
    child = wait_for_checkpoint(process, run, 6)  # in PPO
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of them
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.split("\n")[1]) == (130, "stopped; python train_rl.py --resume runs/small goes on")
    assert not Path(f"/proc/{child}").exists() and not (run / "results.json").exists()
    assert resume(tmp_path) == (0, "")
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["processes"], config["threads"]) == (2, 1)
    assert json.loads((run / "results.json").read_text())["ppo"]["tokens"] == TWO.epochs * 6 * 24


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the other process in /proc")
@pytest.mark.parametrize("killed", ["first", "other"])
def test_when_one_is_killed_the_one_that_is_left_says_how_to_go_on(tmp_path: Path, killed: str) -> None:
    run = tmp_path / "runs" / "small"
    process = start(tmp_path, *flags(TWO))
    child = wait_for_checkpoint(process, run, 6)
    os.kill(process.pid if killed == "first" else child, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if killed == "first" else 2)
    expected = "train_rl.py: another process of the run has ended; accepted: python train_rl.py --resume runs/small"
    assert said.splitlines()[-1] == f"{expected}, from the last checkpoint"  # behind what PyTorch may say
    assert resume(tmp_path) == (0, "")
    assert (run / "results.json").is_file()
