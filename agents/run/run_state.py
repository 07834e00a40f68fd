"""What a training run consists of, and how it is kept: everything that its rest depends on, in files.

A run can be cut between steps of the warm start, between iterations of PPO and between phases. What changes has a
``state_dict`` of its own; here they are put together.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch as th

from o1nano.agents.learning.distributed import SharedLevels, Team
from o1nano.agents.learning.imitation import WarmStart
from o1nano.agents.learning.ppo import SHARED
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_env_config, build_model
from o1nano.agents.run.callbacks import EpisodeStatistics
from o1nano.agents.run.checkpoints import Snapshots
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.hardware import return_memory, versions
from o1nano.agents.run.progress import Display
from o1nano.agents.run.tensorboard import RunLogger, SilentLogger
from o1nano.envs.errors import CheckpointError
from o1nano.policies import model_file as checkpoint
from o1nano.policies.serialization import reason, write_json


class RunState:
    """The parts of a run, its folder and its checkpoints.

    Args:
        config: What to do, as ``prepare`` returns it.
        folder: Where everything is written.
        display: Where progress is shown.
        state: What ``state_dict`` returned when the run was cut.
        team: The processes that train together; the first one shows, logs and writes.

    Attributes:
        results: What each phase that is over has found. It depends on nothing but the configuration and the machine.
        seconds: What each phase has taken.
        sessions: Versions, machine and command of every start of the run.
        phase: The phase that is under way.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        display: Display,
        state: Mapping[str, Any] | None = None,
        team: Team | None = None,
    ) -> None:
        if config.threads is not None:
            th.set_num_threads(config.threads)
        self.config, self.folder, self.display, self.team = config, folder, display, team or Team()
        self.snapshots = Snapshots(folder)
        self.env_config = build_env_config(config)
        self.curriculum = build_curriculum(config)
        self.levels = SharedLevels(self.curriculum, self.team)
        self.model = build_model(config, self.env_config, self.levels, self.team)
        self.network = self.model.policy.network
        seed = self.team.seed(config.seed)
        self.trainer = WarmStart(self.network, config.warm_start, bool(config.bf16), seed, self.team)
        self.demonstrations = build_demonstrations(config, self.team)
        self.statistics = EpisodeStatistics(self.curriculum, self.team)
        self.results: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.sessions: list[dict[str, str]] = []
        self.stopping = False
        self.phase, self._clock = "start", time.monotonic()
        self.logger = RunLogger(folder, state and state["logger"]) if self.team.leads else SilentLogger()
        self.model.set_logger(self.logger)
        if state is not None:
            self.load_state_dict(state)
        elif config.init_from:
            self.network.load_state_dict(checkpoint.load(Path(config.init_from), self.model.device)[0].state_dict())
        self.sessions.append(versions())
        if self.team.leads:
            write_json(folder / "config.json", {"config": asdict(config), "sessions": self.sessions})
        if state is None:
            self.logger.describe(asdict(config))
            self.checkpoint()

    @classmethod
    def resume(cls, folder: Path, display: Display, team: Team | None = None) -> Self:
        """Continues a run from its newest whole checkpoint.

        Raises:
            CheckpointError: If there is none, or it is of another number of processes.
        """
        team, snapshots = team or Team(), Snapshots(folder)
        try:
            config, state = team.lead(lambda: _newest(snapshots, team))
            run = cls(config, folder, display, state, team)
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"a checkpoint in {folder} has another state ({reason(error)}); accepted: its own"
            ) from error
        run.snapshots = snapshots
        return run

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the rest of the run depends on, as plain containers, tensors and arrays.

        ``"others"`` has, for every process but the first, what differs from the first one's. All must call this.
        """
        state: dict[str, Any] = {
            "results": self.results,
            "seconds": self.seconds,
            "sessions": self.sessions,
            "logger": self.logger.state_dict(),
            "model": self.model.state_dict(),
            "curriculum": self.curriculum.state_dict(),
            "statistics": self.statistics.state_dict(),
            "warm_start": None if "warm_start" in self.results else self.trainer.state_dict(),
            "demonstrations": self.demonstrations.state_dict(),
        }
        own = {"model": {name: value for name, value in state["model"].items() if name not in SHARED}}
        others = self.team.gather({**own, "demonstrations": state["demonstrations"]})[1:]
        return {**state, "others": others}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a run with the same configuration returned; the logger has its part."""
        self.results, self.seconds, self.sessions = state["results"], state["seconds"], state["sessions"]
        own = state if self.team.leads else state["others"][self.team.rank - 1]
        self.model.load_state_dict({**state["model"], **own["model"]})
        self.curriculum.load_state_dict(state["curriculum"])
        self.statistics.load_state_dict(state["statistics"])
        if state["warm_start"] is not None:
            self.trainer.load_state_dict(state["warm_start"])
        self.demonstrations.load_state_dict(own["demonstrations"])

    def checkpoint(self) -> None:
        """Writes a checkpoint."""
        now = time.monotonic()
        self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self._clock
        self._clock = now
        state = self.state_dict()
        if self.team.leads:
            self.snapshots.save(self.config, state)
        return_memory()

    def save(self) -> None:
        """Writes ``o1_model.pth``."""
        if not self.team.leads:
            return
        training = {"config": asdict(self.config), "sessions": self.sessions, "results": self.results}
        checkpoint.save(self.folder / "o1_model.pth", self.network, self.env_config, training)

    def pause(self, done: int) -> None:
        """Where the run can be cut: after so many steps or iterations of a phase. Writes a checkpoint if one is due.

        Raises:
            KeyboardInterrupt: If the run was told to stop; everything has been saved.
        """
        self.stopping = any(self.team.gather(self.stopping))
        if self.stopping or (done and done % self.config.checkpoint_every == 0):
            self.checkpoint()
        if self.stopping:
            self.save()
            raise KeyboardInterrupt

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal: the run saves and stops where it can be cut next. A second signal stops it at once.

        Args:
            signum: The signal.
            frame: Where it arrived.
        """
        self.stopping = True
        handle_stop_signals(signal.default_int_handler)
        try:
            self.display.print("saving and stopping; once more stops at once, and goes back to the last checkpoint")
        except RuntimeError:  # the signal has interrupted a write to the same stream, which cannot be entered twice
            return


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Sets what happens at the signals that ask a run to stop: Ctrl-C, SIGTERM, and SIGHUP of a terminal that closes.

    The first two are handled even where they are ignored, as in the background of a shell script. An ignored SIGHUP
    stays ignored: that is what ``nohup`` is for.

    Args:
        handler: Called with the signal and where it arrived.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, handler)
    # Windows has no SIGHUP.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def _newest(snapshots: Snapshots, team: Team) -> tuple[TrainConfig, dict[str, Any]]:
    config, state = snapshots.newest()
    size = len(state["others"]) + 1
    if size != team.size:
        raise CheckpointError(f"a run of {size} processes on {team.size}; accepted: {size}, as it began with")
    return config, state
