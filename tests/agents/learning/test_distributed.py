"""Several processes learn what a single one would learn from the data of all of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import Logger

import train_rl
from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.imitation import WarmStart, WarmStartConfig
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.run.callbacks import EpisodeStatisticsCallback
from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.envs.core.curriculum import AdaptiveCurriculum, UniformLevels
from o1nano.envs.core.usage import EPISODE_USAGE
from o1nano.envs.errors import CheckpointError, ConfigurationError, ProcessGroupError
from o1nano.envs.problems.problem import sizes
from o1nano.envs.seeding import stream
from o1nano.policies.actor_critic import ReasoningPolicy
from tests.helpers.events import scalars
from tests.helpers.frames import CollectingPPO, like_structure
from tests.helpers.paths import ROOT
from tests.helpers.processes import DIED, together
from tests.helpers.runs import SMALL_RUN, flags
from tests.helpers.states import same
from tests.helpers.tiny import TINY, shake, tiny_network, vec_env

ALONE = ProcessGroup()


def ppo(process_group: ProcessGroup = ALONE, **kwargs: Any) -> CollectingPPO:
    """Learns by plain gradient descent, so that rounding stays rounding, on clipped gradients."""
    model = CollectingPPO(
        ReasoningPolicy,
        vec_env(4 + 2 * process_group.rank),
        n_steps=48,
        seed=process_group.rank,
        device="cpu",
        policy_kwargs={"transformer": TINY, "optimizer_class": th.optim.SGD},
        process_group=process_group,
        **{"learning_rate": 0.3, "batch_size": 10**6, "n_epochs": 3, "gamma": 1.0, "max_grad_norm": 0.3, **kwargs},
    )
    model.set_logger(Logger(None, []))
    shake(model.policy, size=0.15)
    like_structure(model.policy)
    return model


def weights(model: FramePPO) -> dict[str, th.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def collect_and_train(process_group: ProcessGroup, **kwargs: Any) -> tuple[Any, ...]:
    model = ppo(process_group, **kwargs)
    before = weights(model)
    model.begin()
    frames = model.collect()
    model.train()
    return before, frames, weights(model), updates(model)


@pytest.fixture(scope="module", autouse=True)
def compiled_before() -> None:
    """Compiles the loops once; two processes that begin at the same time would both do it."""
    collect_and_train(ALONE)


def updates(model: FramePPO) -> int:
    """How many passes over rollouts a model has made."""
    return int(model.logger.name_to_value["train/n_updates"])


@pytest.mark.parametrize("target_kl, passes", [(None, 3), (1e-4, 2)])
def test_two_processes_make_the_update_of_one_on_all_their_data(
    tmp_path: Path, target_kl: float | None, passes: int
) -> None:
    found = together(tmp_path, lambda process_group: collect_and_train(process_group, target_kl=target_kl))
    (before, frames, after, count), (_, other_frames, other_after, other_count) = found
    assert len(frames) != len(other_frames)  # the average has weights
    model = ppo(target_kl=target_kl)
    model.policy.load_state_dict(before)
    buffer = model.rollout_buffer
    buffer.frames = frames + other_frames
    buffer.compute_returns_and_advantage(th.zeros(1), np.zeros(1))
    model.train()
    assert updates(model) == count == other_count == passes
    moved = 0.0
    for name, expected in weights(model).items():
        assert th.equal(after[name], other_after[name]), name
        assert (after[name] - expected).abs().max() < 2e-6, name
        moved += float((expected - before[name]).abs().max())
    assert moved > 1e-2


def some_have_no_advantage(frames: list[Any]) -> None:
    """Two of three frames have none; of the first process's more than of the second's."""
    for index, frame in enumerate(frames):
        advantage = (index % 3 == 0) * (1.0 + len(frames) % 2)
        frame.advantages = np.full(len(frame.positions), advantage, dtype=np.float32)


def test_frames_without_advantage_count_in_the_average_of_two_processes(tmp_path: Path) -> None:
    def trained(process_group: ProcessGroup) -> tuple[Any, ...]:
        model = ppo(process_group, advantage="group")
        before = weights(model)
        model.begin()
        model.collect()
        some_have_no_advantage(model.rollout_buffer.frames)
        model.train()
        return before, list(model.rollout_buffer.frames), weights(model)

    (before, frames, after), (_, other_frames, other_after) = together(tmp_path, trained)
    model = ppo(advantage="group")
    model.policy.load_state_dict(before)
    model.rollout_buffer.frames = frames + other_frames
    model.rollout_buffer.compute_returns_and_advantage(th.zeros(1), np.zeros(1))
    some_have_no_advantage(frames)
    some_have_no_advantage(other_frames)
    model.train()
    for name, expected in weights(model).items():
        assert th.equal(after[name], other_after[name]), name
        assert (after[name] - expected).abs().max() < 2e-6, name
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-2


def test_without_the_average_the_comparison_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessGroup, "average", lambda *_: None)
    first, second = together(tmp_path, collect_and_train)
    assert not all(th.equal(value, second[2][name]) for name, value in first[2].items())


def test_every_process_has_the_same_number_of_minibatches(tmp_path: Path) -> None:
    def sizes_of(process_group: ProcessGroup) -> list[tuple[int, float]]:
        model = ppo(process_group)
        model.begin()
        model.collect()
        return [(batch.count, batch.weight) for batch in model.rollout_buffer.get(30)]

    first, second = together(tmp_path, sizes_of)
    assert len(first) == len(second) > 3
    for (actions, share), (other_actions, other_share) in zip(first, second, strict=True):
        assert actions > 0 and other_actions > 0
        assert share == pytest.approx(2 * actions / (actions + other_actions))
        assert share + other_share == pytest.approx(2.0)


def test_a_step_of_the_warm_start_is_the_one_on_all_demonstrations(tmp_path: Path) -> None:
    levels = UniformLevels(sizes(("addition", "division"), (1, 2)))
    config = WarmStartConfig(steps=100)

    def demonstrations(rank: int) -> list[Any]:
        return next(iter(DemonstrationStream(levels, stream("processes", rank), 200 + 100 * rank, pool=2)))

    def gradients(trainer: WarmStart, batch: list[Any]) -> list[th.Tensor]:
        trainer.step(batch)
        return [parameter.grad for parameter in trainer.network.parameters()]

    found = together(
        tmp_path,
        lambda process_group: gradients(
            WarmStart(tiny_network(), config, False, 0, process_group), demonstrations(process_group.rank)
        ),
    )
    batch = sorted(demonstrations(0) + demonstrations(1), key=lambda frame: len(frame.tokens))
    for expected, *given in zip(gradients(WarmStart(tiny_network(), config, False), batch), *found, strict=True):
        assert th.equal(given[0], given[1])
        assert (given[0] - expected).abs().max() < 1e-6


def whole_run(
    process_group: ProcessGroup, folder: Path, stop: tuple[str, int] | None = None, resume: bool = False
) -> dict[str, Any]:
    """A run, or what it is when the second process was told to stop at some place."""
    if resume:
        run = Run.resume(folder, Display(quiet=True), process_group)
    else:
        config = prepare(replace(SMALL_RUN, name=folder.name))
        run = Run(config, folder, Display(quiet=True), process_group=process_group)
    original = run.pause

    def pause(done: int) -> None:
        run.stopping = (run.current_phase, done) == stop and not process_group.is_rank0
        original(done)

    run.pause = pause  # type: ignore[method-assign]
    try:
        train_rl.train(run)
    except KeyboardInterrupt:
        assert stop == (run.current_phase, run.trainer.done if run.current_phase == "warm_start" else 1)
    return {
        "policy": weights(run.model),
        "optimizer": run.model.policy.optimizer.state_dict(),
        "curriculum": run.curriculum.state_dict(),
        "results": run.results,
        "observations": run.model.state_dict()["observations"],
        "demonstrations": run.demonstrations.state_dict(),
        "history": run.statistics.history,
        "steps": run.logger.start,
    }


@pytest.mark.integration
def test_a_run_of_two_processes_agrees_with_itself_and_resumes_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "whole" / "run"
    first, second = together(tmp_path / "a", lambda process_group: whole_run(process_group, folder))
    for name in ("policy", "optimizer", "curriculum", "results"):
        assert same(first[name], second[name]), name
    each = 6 * 24
    assert [tokens for tokens, _ in first["history"]] == [each * (done + 1) for done in range(SMALL_RUN.iterations)]
    assert first["results"]["ppo"]["tokens"] == SMALL_RUN.iterations * 6 * 24
    assert sum(len(results) for _, _, results in first["curriculum"]["results"]) > 3
    for name in ("observations", "demonstrations"):
        assert not same(first[name], second[name]), name
    cut = tmp_path / "cut" / "run"
    together(tmp_path / "b", lambda process_group: whole_run(process_group, cut, ("warm_start", 2)))
    together(tmp_path / "c", lambda process_group: whole_run(process_group, cut, ("ppo", 1), resume=True))
    together(tmp_path / "d", lambda process_group: whole_run(process_group, cut, ("after", 1), resume=True))
    with pytest.raises(CheckpointError, match="2 processes cannot continue in 1; expected 2"):
        Run.resume(cut, Display(quiet=True))
    again = together(tmp_path / "e", lambda process_group: whole_run(process_group, cut, resume=True))
    for expected, given in zip((first, second), again, strict=True):
        for name in set(expected) - {"steps"}:
            assert same(expected[name], given[name]), name
    assert (folder / "results.json").read_bytes() == (cut / "results.json").read_bytes()
    assert scalars(folder) == scalars(cut)
    assert [step for step, _ in scalars(cut)["final/average_after"]] == [max(first["history"])[0] + first["steps"]]


def test_statistics_are_of_the_episodes_of_all_processes(tmp_path: Path) -> None:
    ended = [("addition/1", "answered", True, 1.0), ("addition/1", "illegal_token", False, 0.0)]
    ended.append(("division/2", "answered", False, 1.0))  # paid without having been solved
    infos = [
        {"level": level, "outcome": outcome, "is_success": solved, "reward/true": float(solved), "reward/total": paid}
        for level, outcome, solved, paid in ended
    ]

    def recorded(process_group: ProcessGroup) -> dict[str, float]:
        curriculum = AdaptiveCurriculum({"addition": 1}, {"addition": 2})
        statistics = EpisodeStatisticsCallback(curriculum, process_group, window=1)
        model = ppo(process_group)
        statistics.init_callback(model)
        own = [{**dict.fromkeys(EPISODE_USAGE, 0), **info} for info in infos[process_group.rank :: 2]]
        running = {**own[0], "is_success": False}  # every step has the same keys
        statistics.locals = {"infos": [*own, running], "dones": [*[True] * len(own), False]}
        statistics.on_step()
        statistics.on_rollout_end()
        return dict(model.logger.name_to_value)

    for found in together(tmp_path, recorded):
        assert found["accuracy/addition/1"] == 0.5 and found["accuracy/division/2"] == 0.0
        assert found["reward/true"] == found["usage/illegal_token"] == found["reward/hack_rate"] == pytest.approx(1 / 3)


@pytest.mark.integration
def test_when_a_process_dies_the_others_say_so_and_a_checkpoint_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def dies(process_group: ProcessGroup) -> list[Any]:
        run = Run(prepare(replace(SMALL_RUN, name="run")), folder, Display(quiet=True), process_group=process_group)
        original = run.pause

        def pause(done: int) -> None:
            if run.current_phase == "ppo" and done == 1 and process_group.rank == 1:
                os._exit(DIED)
            original(done)

        run.pause = pause  # type: ignore[method-assign]
        with pytest.raises(ProcessGroupError, match="another process of the run has ended"):
            train_rl.train(run)
        return [process_group.report_once(), process_group.report_once()]

    assert together(tmp_path / "a", dies) == [[True, False], None]
    resumed = together(tmp_path / "b", lambda process_group: whole_run(process_group, folder, resume=True))
    assert all("after" in part["results"] for part in resumed)


def test_a_process_that_waits_for_another_hears_signals(tmp_path: Path) -> None:
    class Told(Exception):
        pass

    def tell(*_: Any) -> None:
        raise Told

    def waits(process_group: ProcessGroup) -> float:
        process_group.wait()  # until both have started
        began = time.monotonic()
        if not process_group.is_rank0:
            time.sleep(2)
            return 0.0
        signal.signal(signal.SIGALRM, tell)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Told):
            process_group.wait()
        return time.monotonic() - began

    assert together(tmp_path, waits)[0] < 1.5


def test_a_group_of_one_is_the_identity() -> None:
    tensor = th.ones(3)
    ALONE.average([tensor])
    assert tensor.tolist() == [1.0] * 3
    ALONE.wait()
    assert ALONE.gather("x") == ["x"]
    assert ALONE.broadcast_from_rank0(lambda: 5) == 5
    assert ALONE.seed(7) == 7 and ProcessGroup(1, 2).seed(7) != ProcessGroup(2, 3).seed(7) != 7
    assert ALONE.weight(5, [5]) == 1.0
    assert ALONE.divide("ppo.n_envs", 7) == 7


TORCHRUN = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": None}, "WORLD_SIZE=2 without RANK; expected either all variables that torchrun sets, or none"),
        ({"MASTER_ADDR": None}, "WORLD_SIZE=2 without MASTER_ADDR; expected"),
        ({"MASTER_PORT": None}, "WORLD_SIZE=2 without MASTER_PORT; expected"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' in the environment; expected 1 to"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE='' in the environment"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0' in the environment"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE='9999"),
        ({"RANK": "2"}, "RANK='2' in the environment; expected 0 to 1"),
        ({"RANK": "-1"}, "RANK='-1' in the environment; expected 0 to 1"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK='x' in the environment"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE='3' in the environment; expected 1 to 2"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT='99999' in the environment; expected 1 to 65535"),
    ],
)
def test_a_wrong_variable_of_torchrun_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], said: str
) -> None:
    for name, value in {**TORCHRUN, **changes}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["train_rl.py"])
    assert train_rl.main() == 2
    err = capsys.readouterr().err
    assert err.startswith(f"train_rl.py: {said}")
    assert err.count("\n") == 1 and len(err) < 200


def test_one_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert ProcessGroup.join() == ProcessGroup()


@pytest.mark.slow
def test_an_interface_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, **TORCHRUN, "MASTER_PORT": "0", "GLOO_SOCKET_IFNAME": "nowhere"}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        environment["MASTER_PORT"] = str(listener.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "train_rl.py")],
            env={**environment, "RANK": str(rank)},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2
        own = said.splitlines()[-1]
        assert own.startswith("train_rl.py: cannot connect to the other processes (") and "GLOO_SOCKET_IFNAME" in own


def test_a_number_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"ppo.n_envs=7 on 2 processes; expected a multiple of 2"):
        ProcessGroup(0, 2).divide("ppo.n_envs", 7)


def test_an_error_of_rank_0_ends_the_others(tmp_path: Path) -> None:
    def fails() -> None:
        raise ConfigurationError("x=3; expected 4")

    def broadcast(process_group: ProcessGroup) -> str:
        with pytest.raises((ConfigurationError, SystemExit)) as raised:
            process_group.broadcast_from_rank0(fails)
        return str(raised.value)

    assert together(tmp_path, broadcast) == ["x=3; expected 4", "2"]


def test_the_mean_of_all_processes_has_weights(tmp_path: Path) -> None:
    def mean(process_group: ProcessGroup) -> float:
        return process_group.mean(0.0 if process_group.is_rank0 else 1.0, 1.5 if process_group.is_rank0 else 0.5)

    assert together(tmp_path, mean) == [0.25, 0.25]
    assert ALONE.mean(3.0, 1.0) == 3.0


@pytest.mark.slow
def test_torchrun_trains_dies_and_resumes(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(ROOT / "train_rl.py")]
    run = tmp_path / "runs" / "small"
    process = subprocess.Popen(
        [*torchrun, "--quiet", *flags(replace(SMALL_RUN, iterations=60))],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (run / "checkpoints" / "000012.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    own = [line for line in said.splitlines() if line.startswith("train_rl.py:")]
    resume_command = "python train_rl.py --resume runs/small"
    expected = f"another process of the run has ended; to continue from the last checkpoint: {resume_command}"
    assert own == [f"train_rl.py: {expected}"]
    again = subprocess.Popen([*torchrun, "--quiet", "--resume", "runs/small"], cwd=tmp_path)
    assert again.wait(timeout=600) == 0
    assert (run / "results.json").is_file()
