"""A run that is cut anywhere and resumed ends exactly like one that is never cut."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from rich.console import Console

import train_rl
from o1nano.agents.learning.imitation import WarmStart
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run, handle_stop_signals
from o1nano.envs.errors import CheckpointError, StorageError
from o1nano.policies.serialization import read_sealed, write_sealed
from tests.helpers.events import scalars
from tests.helpers.paths import ROOT
from tests.helpers.runs import SMALL_RUN, flags, small_run
from tests.helpers.states import same

QUIET = Display(quiet=True)
LONGER = replace(
    SMALL_RUN, iterations=20, checkpoint_every=4, warm_start=replace(SMALL_RUN.warm_start, steps=40, check_every=20)
)


def state_of(run: Run) -> dict[str, Any]:
    """Everything a run is, without times and the names of files."""
    state = run.state_dict()
    for name in ("seconds", "sessions", "logger"):
        del state[name]
    state["model"]["episodes"] = [episode[:2] for episode in state["model"]["episodes"]]
    return state


def cut_everywhere(folder: Path, **changes: Any) -> tuple[Run, int]:
    """A run that is stopped wherever it can be cut, each time resumed from its files alone."""
    run, cut = small_run(folder, **changes), set()
    while True:
        original = run.pause

        def pause(done: int, run: Run = run, original: Any = original) -> None:
            run.stopping = (run.current_phase, done) not in cut
            cut.add((run.current_phase, done))
            original(done)

        run.pause = pause  # type: ignore[method-assign]
        try:
            train_rl.train(run)
        except KeyboardInterrupt:
            run = Run.resume(folder, QUIET)
        else:
            return run, len(cut)


@pytest.mark.parametrize(
    "ppo",
    [
        pytest.param({"credit": "blame"}, id="blame"),
        pytest.param({"credit": "episode"}, id="episode"),
        pytest.param({"advantage": "leave_one_out", "group_size": 4}, id="groups"),
    ],
)
@pytest.mark.integration
def test_cut_wherever_it_can_be_cut_a_run_ends_the_same(tmp_path: Path, ppo: dict[str, Any]) -> None:
    changes = {"ppo": replace(SMALL_RUN.ppo, **ppo)}
    whole = small_run(tmp_path / "whole" / "run", **changes)
    train_rl.train(whole)
    resumed, cuts = cut_everywhere(tmp_path / "cut" / "run", **changes)
    assert cuts == 4 + 1 + 2 + 1  # steps, an evaluation, iterations, an evaluation
    assert len(resumed.sessions) == cuts + 1
    for name, value in state_of(whole).items():
        assert same(value, state_of(resumed)[name]), name
    assert whole.model.policy.optimizer.state_dict()["state"], "PPO has taken no step"
    assert whole.model.state_dict()["buffer"]["_acted"].any(), "no frame was open"
    assert (whole.folder / "results.json").read_bytes() == (resumed.folder / "results.json").read_bytes()
    written = scalars(whole.folder)
    assert ("group/alone" in written) == ("group_size" in ppo)
    assert {"warm_start/loss", "train/loss", "rollout/ep_rew_mean"} <= set(written)
    assert scalars(resumed.folder) == written


def test_the_comparison_notices_what_is_not_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(tmp_path / "run")
    batches = iter(run.demonstrations)
    for _ in range(2):
        run.trainer.step(next(batches))
    run.checkpoint()
    load = WarmStart.load_state_dict

    def forgetful(self: WarmStart, state: dict[str, Any]) -> None:
        muon, adamw = state["optimizers"]
        load(self, {**state, "optimizers": [muon, {**adamw, "state": {}}]})

    weights = []
    for method in (load, forgetful):
        monkeypatch.setattr(WarmStart, "load_state_dict", method)
        resumed = Run.resume(run.folder, QUIET)
        resumed.trainer.step(next(iter(resumed.demonstrations)))
        weights.append(state_of(resumed)["model"]["policy"])
    run.trainer.step(next(batches))
    assert same(state_of(run)["model"]["policy"], weights[0])
    assert not same(weights[0], weights[1])


@pytest.mark.integration
def test_a_run_depends_on_its_seed_and_leaves_other_random_states(tmp_path: Path) -> None:
    runs = [small_run(tmp_path / str(every) / "run", checkpoint_every=every) for every in (1, 1000)]
    runs.append(small_run(tmp_path / "other", seed=1))
    for seed, run in enumerate(runs):
        with th.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)
            th.manual_seed(seed)
            before = random.getstate(), np.random.get_state(), th.get_rng_state()
            train_rl.train(run)
            assert same(before, (random.getstate(), np.random.get_state(), th.get_rng_state()))
    texts = [(run.folder / "results.json").read_bytes() for run in runs]
    assert texts[0] == texts[1] != texts[2]
    weights = [state_of(run)["model"]["policy"] for run in runs]
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores what happens at signals."""
    before = {stop: signal.getsignal(stop) for stop in STOPS}
    yield
    for stop, handler in before.items():
        signal.signal(stop, handler)


@pytest.mark.parametrize("stop", STOPS)
def test_a_signal_stops_where_the_run_can_be_cut(tmp_path: Path, handlers: None, stop: int) -> None:
    run = small_run(tmp_path / "run")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    handle_stop_signals(run.interrupt)
    step = run.trainer.step

    def second_is_told(batch: list[Any]) -> dict[str, float]:
        losses = step(batch)
        if run.trainer.done == 2:
            signal.raise_signal(stop)
        return losses

    run.trainer.step = second_is_told  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train_rl.train(run)
    assert run.trainer.done == 2
    assert (run.folder / "o1_model.pth").is_file()
    assert Run.resume(run.folder, QUIET).trainer.done == 2
    for again in STOPS:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(again)


@pytest.mark.parametrize("phase", ["warm start", "before PPO", "after PPO"])
def test_with_nothing_to_save_a_signal_stops_at_once(tmp_path: Path, handlers: None, phase: str) -> None:
    """Whatever a session does first, it may take long: a first step compiles, an evaluation has no cuts."""
    run = small_run(tmp_path / "run")
    handle_stop_signals(run.interrupt)
    told = []

    class Telling(Display):
        def begin(self, begun: str, total: int, done: int = 0) -> None:
            super().begin(begun, total, done)
            if begun == phase:
                told.append(run.trainer.done)
                signal.raise_signal(signal.SIGTERM)

    run.display = Telling(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        train_rl.train(run)
    assert told == [0 if phase == "warm start" else 4]
    finished = {"warm start": [], "before PPO": ["warm_start"], "after PPO": ["warm_start", "before", "ppo"]}
    assert list(Run.resume(run.folder, QUIET).results) == finished[phase]


def test_a_run_under_nohup_continues_without_its_terminal(tmp_path: Path, handlers: None) -> None:
    run = small_run(tmp_path / "run")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_stop_signals(run.interrupt)
    signal.raise_signal(signal.SIGHUP)
    assert not run.stopping


def test_a_signal_within_a_write_is_heard(tmp_path: Path, handlers: None) -> None:
    """Python refuses to print in a handler that has interrupted a print to the same stream."""

    class Entered(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    run = small_run(tmp_path / "run")
    run.trainer.done = 1
    run.display = Display(console=Console(file=Entered()))
    run.interrupt(signal.SIGINT, None)
    assert run.stopping


def command(*flags_given: object) -> list[str]:
    return [sys.executable, str(ROOT / "train_rl.py"), *map(str, flags_given)]


@pytest.mark.integration
def test_sigterm_saves_and_exits_cleanly_and_a_finished_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], handlers: None
) -> None:
    small = ["--quiet", *flags()]
    process = subprocess.Popen(command(*small), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    first = tmp_path / "runs" / "small" / "checkpoints" / "000002.pt"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "stopped; to continue: python train_rl.py --resume runs/small"
    assert (tmp_path / "runs" / "small" / "o1_model.pth").is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_rl.py", "--resume", "runs/small"])
    for expected in ("wrote runs/small/", "runs/small is finished"):
        assert train_rl.main() == 0
        assert expected in capsys.readouterr().out


def weights(folder: Path) -> dict[str, Any]:
    return dict(th.load(folder / "o1_model.pth", weights_only=True)["weights"])


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    """SIGKILL at 20 random moments; each time the run is resumed by the command that a user has."""
    start = time.monotonic()
    subprocess.run(command("--quiet", *flags(LONGER)), cwd=tmp_path, check=True)
    whole, seconds = tmp_path / "runs" / "small", time.monotonic() - start
    rng, killed = np.random.default_rng(0), 0
    while killed < 20:
        folder = tmp_path / str(killed)
        folder.mkdir()
        start, moment = time.monotonic(), rng.uniform(0, seconds)
        process = subprocess.Popen(command("--quiet", *flags(LONGER)), cwd=folder)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait() != -signal.SIGKILL:  # it was faster than the one before: kill earlier
            seconds = time.monotonic() - start
            shutil.rmtree(folder)
            continue
        killed += 1
        run = folder / "runs" / "small"
        again = command("--quiet", "--resume", "runs/small")
        if not list((run / "checkpoints").glob("*.pt")):  # it had not begun
            again = command("--quiet", *flags(LONGER))
            shutil.rmtree(folder / "runs", ignore_errors=True)
        subprocess.run(again, cwd=folder, check=True)
        assert same(weights(run), weights(whole)), moment
        assert (run / "results.json").read_bytes() == (whole / "results.json").read_bytes()
        assert scalars(run) == scalars(whole)


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "unsealed", "other version"])
def test_a_bad_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    run = small_run(tmp_path / "run")
    run.trainer.done = 1
    run.checkpoint()
    run.trainer.done = 2
    run.checkpoint()
    newest = max((run.folder / "checkpoints").iterdir())
    content = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        newest.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    elif damage == "foreign":
        newest.write_bytes(b"hello")
    else:
        whole, _ = read_sealed(newest)
        changes = {"version": "9.9"} if damage == "other version" else {}
        th.save({**whole, **changes}, newest) if damage == "unsealed" else write_sealed(newest, {**whole, **changes})
    resumed = Run.resume(run.folder, QUIET)
    assert resumed.trainer.done == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("skipped: ") and newest.name in said
    resumed.checkpoint()  # takes the place of the damaged one
    assert Run.resume(run.folder, QUIET).trainer.done == 1
    assert not capsys.readouterr().err


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    run.checkpoints.serial = 999_997
    for done in range(1, 5):
        run.trainer.done = done
        run.checkpoint()
    names = {path.name for path in (run.folder / "checkpoints").iterdir()}
    assert names == {"999999.pt", "1000000.pt", "1000001.pt"}
    assert Run.resume(run.folder, QUIET).trainer.done == 4


@pytest.mark.integration
def test_a_run_continues_in_a_folder_of_another_name(tmp_path: Path) -> None:
    whole = small_run(tmp_path / "run")
    train_rl.train(whole)
    cut = small_run(tmp_path / "cut" / "run")
    cut.stopping = True
    with pytest.raises(KeyboardInterrupt):
        train_rl.train(cut)
    renamed = cut.folder.rename(tmp_path / "renamed")
    resumed = Run.resume(renamed, QUIET)
    train_rl.train(resumed)
    assert (renamed / "results.json").read_bytes() == (whole.folder / "results.json").read_bytes()
    assert not cut.folder.exists()


@pytest.mark.integration
def test_a_run_ends_and_saves_without_a_reader(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(command(*flags()), cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert process.wait(timeout=300) == 0
    assert (tmp_path / "runs" / "small" / "results.json").is_file()


def test_without_a_whole_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Run.resume(tmp_path, QUIET)
    run = small_run(tmp_path / "run")
    for path in (run.folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="it has no checksum"):
        Run.resume(run.folder, QUIET)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(tmp_path / "run")
    run.trainer.step(next(iter(run.demonstrations)))
    run.checkpoint()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            train_rl.train(run)
    assert Run.resume(run.folder, QUIET).trainer.done == 1
    assert not list(run.folder.rglob("*.tmp"))
