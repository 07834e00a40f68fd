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

from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run import prepare as prepare_module
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.agents.run.launch import with_others
from o1nano.agents.run.prepare import prepare
from o1nano.envs.errors import ConfigurationError
from tests.helpers.endless import write_endless
from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN, flags
from tests.helpers.tiny import TINY

TWO = replace(SMALL_RUN, processes=2, iterations=16, checkpoint_every=2)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(prepare_module, "cores", lambda: 8)
    yield


@pytest.mark.parametrize(
    "asked, processes, threads",
    [
        (TrainConfig(device="cpu"), 4, 2),  # no more: more were not measured
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
    config = prepare(TrainConfig(), ProcessGroup(0, 8, 4))
    assert (config.processes, config.threads) == (8, 2)
    with pytest.raises(ConfigurationError, match="processes=2, but 8 are running; expected 8"):
        prepare(TrainConfig(processes=2), ProcessGroup(0, 8, 4))


PROGRAM = """
import json, os, sys, time
from pathlib import Path
from o1nano.agents.run.launch import with_others

folder, processes, status, seconds = Path(sys.argv[1]), *map(int, sys.argv[2:])
if __name__ == "__mp_main__":
    (folder / "began").touch()
    time.sleep(seconds)


def work(process_group):
    facts = [process_group.size, sys.flags.optimize, sys._xoptions, sys.warnoptions, os.getppid()]
    (folder / str(process_group.rank)).write_text(json.dumps(facts))
    if process_group.is_rank0:
        while status and not (folder / "1").exists():
            time.sleep(0.01)
        return status
    time.sleep(1000 if status else 0)
    return 0


if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        sys.exit("a launcher that runs the whole program again would never end to start processes")
    sys.exit(with_others(processes, work))
"""


def launch(folder: Path, processes: int = 2, status: int = 0, seconds: int = 0) -> subprocess.Popen[str]:
    """Starts a program of several processes.

    Args:
        folder: Where each process writes what it knows, under the number of its rank.
        processes: Number of processes.
        status: Exit status of the first one; if it is not 0, the others never end by themselves.
        seconds: How long the others take to start.
    """
    program = folder / "program.py"
    program.write_text(PROGRAM)
    flags_of_python = ["-O", "-X", "utf8", "-W", "ignore::FutureWarning"]
    return subprocess.Popen(
        [sys.executable, *flags_of_python, str(program), str(folder), str(processes), str(status), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(owner) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_one_process_is_not_started_by_another() -> None:
    assert with_others(1, lambda process_group: 7 * process_group.size) == 7


@pytest.mark.integration
def test_every_process_has_the_flags_of_the_interpreter(tmp_path: Path) -> None:
    process = launch(tmp_path)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    facts = [json.loads((tmp_path / name).read_text()) for name in ("0", "1")]
    assert facts[0][:4] == facts[1][:4] == [2, 1, {"utf8": True}, ["ignore::FutureWarning"]]
    assert facts[1][4] == process.pid


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_others_are_killed_when_the_first_fails(tmp_path: Path) -> None:
    process = launch(tmp_path, processes=3, status=130)
    process.communicate(timeout=120)  # until every process has closed standard error
    assert process.returncode == 130
    assert not members(process.pid)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("seconds", [0, 3])
def test_nothing_outlives_a_leader_that_ends_during_the_start(tmp_path: Path, stop: int, seconds: int) -> None:
    process = launch(tmp_path, seconds=seconds)
    while not (tmp_path / "began").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(stop)
    process.communicate(timeout=90)  # until every process has closed standard error
    assert process.returncode == -stop
    limit = time.monotonic() + 10
    while members(process.pid):
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.mark.integration
def test_a_process_that_cannot_start_is_reported(tmp_path: Path) -> None:
    lines = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from o1nano.agents.run.launch import with_others"
    # A process that is started by another cannot find a function of "python -c".
    command = [sys.executable, "-c", f"{lines}\ndef work(process_group): return 0\nwith_others(2, work)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2
    assert done.stderr.endswith("another process of the run has not started; expected --processes 1 here\n")


def start(folder: Path, *given: str) -> subprocess.Popen[str]:
    """Starts the script in a group of its own, as a terminal does."""
    command = [sys.executable, str(ROOT / "train_rl.py"), "--quiet", *given]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)


def resume(folder: Path) -> tuple[int, str]:
    """Continues the run to its end; returns the exit status and what was said."""
    process = start(folder, "--resume", "runs/small")
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path, serial: int) -> int:
    """Waits until a run has this number of checkpoints; returns the number of its other process."""
    while not (run / "checkpoints" / f"{serial:06}.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    # The other one is multiprocessing's own, which keeps track of shared memory.
    *_, child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="finds the other process in /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGHUP])
def test_two_processes_save_when_their_terminal_tells_them(tmp_path: Path, stop: int) -> None:
    run = tmp_path / "runs" / "small"
    process = start(tmp_path, *flags(TWO))
    child = wait_for_checkpoint(process, run, 6)  # in PPO
    os.killpg(process.pid, stop)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.split("\n")[1] == "stopped; to continue: python train_rl.py --resume runs/small"
    assert not Path(f"/proc/{child}").exists() and not (run / "results.json").exists()
    assert resume(tmp_path) == (0, "")
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["processes"], config["threads"]) == (2, 1)
    assert json.loads((run / "results.json").read_text())["ppo"]["tokens"] == TWO.iterations * 6 * 24


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="finds the other process in /proc")
def test_two_processes_stop_at_once_while_they_evaluate(tmp_path: Path) -> None:
    """The model fills a long frame, so that no answer ends for minutes."""
    model = tmp_path / "endless.pth"
    write_endless(model, "digits")
    no_steps = replace(TWO.warm_start, steps=0)
    long = replace(TWO, init_from=str(model), frame_length=2**15, transformer=TINY, warm_start=no_steps)
    process = start(tmp_path, *flags(replace(long, max_tokens=2**40)))
    child = wait_for_checkpoint(process, tmp_path / "runs" / "small", 2)  # the warm start has ended
    time.sleep(2)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert time.monotonic() - began < 20
    assert process.returncode == 130
    assert said.strip() == "stopped; to continue: python train_rl.py --resume runs/small"
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="finds the other process in /proc")
@pytest.mark.parametrize("killed", ["first", "other"])
def test_when_one_is_killed_the_one_that_is_left_says_how_to_go_on(tmp_path: Path, killed: str) -> None:
    run = tmp_path / "runs" / "small"
    process = start(tmp_path, *flags(TWO))
    child = wait_for_checkpoint(process, run, 6)
    os.kill(process.pid if killed == "first" else child, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if killed == "first" else 2)
    resume_command = "python train_rl.py --resume runs/small"
    expected = f"another process of the run has ended; to continue from the last checkpoint: {resume_command}"
    assert said.splitlines()[-1] == f"train_rl.py: {expected}"  # behind what PyTorch may say
    assert resume(tmp_path) == (0, "")
    assert (run / "results.json").is_file()
