"""What Weights & Biases and Trackio get is what TensorBoard gets. A small package stands in for them.

The last tests need the packages themselves, and are skipped without them. Nothing leaves the machine.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train_rl
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.agents.run.tensorboard import NOT_TEXT, RunLogger
from o1nano.agents.run.tracking import Tracker
from o1nano.envs.errors import ConfigurationError
from tests.helpers.events import scalars
from tests.helpers.paths import ROOT
from tests.helpers.runs import small_run

FAKE = """
class Error(Exception):
    pass

begun, logged, finished = [], [], []

class Run:
    def log(self, scalars, step):
        logged.append((step, scalars))

    def finish(self):
        finished.append(self)

def init(**settings):
    if settings["config"].get("name") == "refused":
        raise Error("no one is logged in")
    begun.append(settings)
    return Run()
"""


@pytest.fixture(params=["wandb", "trackio"])
def fake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package of the service's name that remembers what it is told."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / f"{request.param}.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    yield importlib.import_module(request.param)
    monkeypatch.delitem(sys.modules, request.param)


def test_scalars_arrive_at_the_steps_of_tensorboard(fake: Any, tmp_path: Path) -> None:
    logger = RunLogger(tmp_path / "run")
    tracker = Tracker(fake.__name__, tmp_path / "run", {"seed": 3, "ppo.n_envs": 6})
    logger.output_formats.append(tracker)
    logger.start = 1000
    logger.scale = 2

    logger.record("rollout/success_rate", np.float32(0.5))
    logger.record("curriculum/addition", 4)
    logger.record("transcript/easy", "1 + 1 =", exclude=NOT_TEXT)
    logger.record("train/n_updates", 7, exclude="tensorboard")
    logger.dump(30)
    logger.record("transcript/easy", "only a text", exclude=NOT_TEXT)
    logger.dump(40)
    logger.close()

    assert fake.logged == [(1060, {"rollout/success_rate": 0.5, "curriculum/addition": 4.0})]
    assert fake.finished == [tracker.run]
    assert fake.begun[0]["config"] == {"seed": 3, "ppo.n_envs": 6}


def test_a_resumed_run_continues_its_tracked_run(fake: Any, tmp_path: Path) -> None:
    for name in ("run", "run", "other"):
        (tmp_path / name).mkdir(exist_ok=True)
        Tracker(fake.__name__, tmp_path / name, {})
    first, resumed, other = (settings.get("id", settings["name"]) for settings in fake.begun)
    assert first == resumed != other
    assert {settings["resume"] for settings in fake.begun} == {"allow"}


def test_what_the_service_refuses_is_one_line(fake: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"--track {fake.__name__}: no one is logged in; expected"):
        Tracker(fake.__name__, tmp_path, {"name": "refused"})


@pytest.mark.parametrize("service", ["wandb", "trackio"])
def test_without_the_package_there_is_one_line_and_no_run(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # wandb leaves a folder of this name behind, which Python takes for a package without modules.
    (tmp_path / service).mkdir()
    others = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *others])
    monkeypatch.delitem(sys.modules, service, raising=False)

    monkeypatch.setattr(sys, "argv", ["train_rl.py", "--track", service])
    assert train_rl.main() == 2
    expected = f"the package {service} is not installed; expected it after: pip install {service}"
    assert capsys.readouterr().err == f"train_rl.py: --track {service}: {expected}\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.integration
def test_a_run_that_is_cut_and_resumed_is_mirrored_whole(fake: Any, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", track=fake.__name__)
    original = run.pause

    def pause(done: int) -> None:
        run.stopping = run.current_phase == "ppo" and done == 1
        original(done)

    run.pause = pause  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train_rl.train(run)
    run.logger.close()
    resumed = Run.resume(run.folder, Display(quiet=True))
    train_rl.train(resumed)
    resumed.logger.close()

    mirrored: dict[str, list[int]] = {}
    for step, values in fake.logged:
        for name in values:
            if not name.startswith("time/"):
                mirrored.setdefault(name, []).append(step)
    steps = {name: [step for step, _ in points] for name, points in scalars(run.folder).items()}
    assert mirrored == steps
    assert len(fake.begun) == 2 == len(fake.finished)


PROGRAM = """
import sys
from pathlib import Path
from o1nano.agents.run.tracking import Tracker

for step in (10, 20):
    tracker = Tracker(sys.argv[1], Path("run"), {"seed": 0})
    tracker.write({"reward/true": step / 100}, {"reward/true": ()}, step)
    tracker.close()
"""


@pytest.mark.integration
@pytest.mark.parametrize("service", ["wandb", "trackio"])
def test_the_package_itself_is_used_offline(service: str, tmp_path: Path) -> None:
    # Other tests import a module of this name that is not the package.
    if not list(distributions(name=service)):
        pytest.skip(f"{service} is not installed")
    (tmp_path / "run").mkdir()
    offline = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **offline, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", PROGRAM, service], cwd=tmp_path, env=environment, check=True, timeout=300)

    run_id = json.loads((tmp_path / "run" / "tracking.json").read_text())["id"]
    if service == "wandb":
        # A resumed run has a folder for each session, which "wandb sync" joins by their id.
        assert list(tmp_path.glob(f"run/wandb/offline-run-*/run-{run_id}.wandb"))
        return
    with sqlite3.connect(tmp_path / "trackio" / "o1nano.db") as database:
        points = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    found = [(name, step, json.loads(metrics)["reward/true"]) for name, step, metrics in points]
    assert found == [(f"run-{run_id}", 10, 0.1), (f"run-{run_id}", 20, 0.2)]
