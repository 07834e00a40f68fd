"""One training run: its parts, its phases, and the checkpoints from which it continues exactly.

A run can be cut between steps of the warm start, between iterations of PPO and between phases. Each part that changes
has a ``state_dict`` of its own; ``Run`` puts them together.
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

from o1nano.agents.learning.distributed import ProcessGroup, SharedCurriculum
from o1nano.agents.learning.imitation import WarmStart
from o1nano.agents.learning.ppo import SHARED
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_env_config, build_model
from o1nano.agents.run.callbacks import EpisodeStatisticsCallback
from o1nano.agents.run.checkpoints import Checkpoints
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.hardware import return_memory, versions
from o1nano.agents.run.progress import Display
from o1nano.agents.run.recording import training_record
from o1nano.agents.run.tensorboard import RunLogger, SilentLogger, flat
from o1nano.agents.run.tracking import Tracker
from o1nano.envs.errors import CheckpointError
from o1nano.policies import model_file
from o1nano.policies.record import TrainingRecord
from o1nano.policies.serialization import short_reason, write_json

MODEL_FILE = "o1_model.pth"
BEFORE_PPO_FILE = "before_ppo.pth"


class Run:
    """The parts of a run, its folder and its checkpoints.

    Args:
        config: What to do, as ``prepare`` returns it.
        folder: Where the run writes its files.
        display: Shows the progress.
        state: What ``state_dict`` returned when the run was cut; None for a new run.
        process_group: The processes that train together. The first one shows, logs and writes.

    Attributes:
        results: What each finished phase has found. They depend on the configuration and the machine only.
        seconds: How long each phase has taken.
        sessions: Versions, machine and command of every start of the run.
        current_phase: Name of the phase that is running.
        stopping: Whether the run was told to stop at the next place where it can be cut.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        display: Display,
        state: Mapping[str, Any] | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        # Before anything is computed: PyTorch's sums depend on the number of threads.
        if config.threads is not None:
            th.set_num_threads(config.threads)
        self.config = config
        self.folder = folder
        self.display = display
        self.process_group = process_group or ProcessGroup()
        self.checkpoints = Checkpoints(folder)
        self._build(config)

        self.results: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.sessions: list[dict[str, str]] = []
        self._earlier_record: TrainingRecord | None = None
        self.stopping = False
        self.current_phase = "start"
        self._phase_began = time.monotonic()

        self.logger = RunLogger(folder, state and state["logger"]) if self.process_group.is_rank0 else SilentLogger()
        self.model.set_logger(self.logger)
        if state is not None:
            self.load_state_dict(state)
        elif config.init_from:
            self._start_from(Path(config.init_from))
        self._record_session(is_new=state is None)
        self._saved_place = self._place()

        # After the first checkpoint: a run that the service refuses can be resumed.
        if config.track is not None and self.process_group.is_rank0:
            self.logger.output_formats.append(Tracker(config.track, folder, flat(asdict(config))))

    def _build(self, config: TrainConfig) -> None:
        """Builds environments, network, PPO, warm start and curriculum."""
        self.env_config = build_env_config(config)
        self.curriculum = build_curriculum(config)
        self.level_sampler = SharedCurriculum(self.curriculum, self.process_group)
        self.model = build_model(config, self.env_config, self.level_sampler, self.process_group)
        self.network = self.model.policy.network

        # Each process learns from its own demonstrations and drops out its own units.
        seed = self.process_group.seed(config.seed)
        self.trainer = WarmStart(self.network, config.warm_start, bool(config.bf16), seed, self.process_group)
        self.demonstrations = build_demonstrations(config, self.process_group)
        self.statistics = EpisodeStatisticsCallback(self.curriculum, self.process_group)

    def _start_from(self, path: Path) -> None:
        """Takes over the weights of another model, and the record of what it was trained on."""
        initial = model_file.load_all(path, self.model.device)
        self._earlier_record = initial.record
        self.network.load_state_dict(initial.network.state_dict())

    def _record_session(self, is_new: bool) -> None:
        """Writes what this start of the run depends on; a new run gets its first checkpoint."""
        self.sessions.append(versions())
        if self.process_group.is_rank0:
            write_json(self.folder / "config.json", {"config": asdict(self.config), "sessions": self.sessions})
        if is_new:
            self.logger.describe(asdict(self.config))
            self.checkpoint()

    @classmethod
    def resume(cls, folder: Path, display: Display, process_group: ProcessGroup | None = None) -> Self:
        """Continues a run from its newest whole checkpoint.

        Args:
            folder: The run's.
            display: Shows the progress.
            process_group: The processes that train together.

        Raises:
            CheckpointError: If the folder has no checkpoint, or it belongs to another number of processes.
        """
        process_group = process_group or ProcessGroup()
        checkpoints = Checkpoints(folder)
        try:
            config, state = process_group.broadcast_from_rank0(lambda: _newest(checkpoints, process_group))
            run = cls(config, folder, display, state, process_group)
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"the state of a checkpoint in {folder} does not fit its configuration ({short_reason(error)}); "
                "expected a checkpoint of train_rl.py"
            ) from error
        # The next checkpoint gets the next number.
        run.checkpoints = checkpoints
        return run

    def phase(self, name: str, work: Callable[[Self], Any]) -> None:
        """Does a phase, keeps its results and writes a checkpoint. A finished phase is skipped.

        Args:
            name: Key of its results.
            work: Does the phase and returns its results as plain containers.

        Raises:
            KeyboardInterrupt: If the run was told to stop; everything is saved.
        """
        if name in self.results:
            return
        self.current_phase = name
        self.results[name] = work(self)
        self.display.end()

        # The checkpoint first: with it the run can be resumed, and the model file be written again.
        self.checkpoint()
        self.save()
        self._saved_place = self._place()

    def _place(self) -> tuple[int, int]:
        """Returns how far the run is: steps of the warm start, and tokens of PPO in this process."""
        return self.trainer.done, self.model.num_timesteps

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the rest of the run depends on, as plain containers, tensors and arrays.

        ``"others"`` holds what differs in each process but the first. All processes must call this.
        """
        # The state of the warm start is large, and of no use once that is finished.
        state: dict[str, Any] = {
            "results": self.results,
            "seconds": self.seconds,
            "sessions": self.sessions,
            "earlier_record": self._earlier_record and self._earlier_record.as_dict(),
            "logger": self.logger.state_dict(),
            "model": self.model.state_dict(),
            "curriculum": self.curriculum.state_dict(),
            "statistics": self.statistics.state_dict(),
            "warm_start": None if "warm_start" in self.results else self.trainer.state_dict(),
            "demonstrations": self.demonstrations.state_dict(),
        }

        # What is the same in all processes is stored once.
        own_model = {name: value for name, value in state["model"].items() if name not in SHARED}
        gathered = self.process_group.gather({"model": own_model, "demonstrations": state["demonstrations"]})
        return {**state, "others": gathered[1:]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a run with the same configuration returned, except the logger's part."""
        self.results = state["results"]
        self.seconds = state["seconds"]
        self.sessions = state["sessions"]
        if state["earlier_record"] is not None:
            self._earlier_record = TrainingRecord.restore(state["earlier_record"])

        # Environments, random states and demonstrations are each process's own. Rank 0 has no entry among the others.
        own = state if self.process_group.is_rank0 else state["others"][self.process_group.rank - 1]
        self.model.load_state_dict({**state["model"], **own["model"]})
        self.demonstrations.load_state_dict(own["demonstrations"])

        # These are the same in every process.
        self.curriculum.load_state_dict(state["curriculum"])
        self.statistics.load_state_dict(state["statistics"])
        if state["warm_start"] is not None:
            self.trainer.load_state_dict(state["warm_start"])

    def checkpoint(self) -> None:
        """Writes a checkpoint. All processes must call this."""
        # Added up over sessions: a resumed phase continues its count.
        now = time.monotonic()
        self.seconds[self.current_phase] = self.seconds.get(self.current_phase, 0.0) + now - self._phase_began
        self._phase_began = now

        state = self.state_dict()
        if self.process_group.is_rank0:
            self.checkpoints.save(self.config, state)
        return_memory()

    def save(self, name: str = MODEL_FILE) -> None:
        """Writes the model as it is now.

        Args:
            name: Of the file in the run's folder.
        """
        if not self.process_group.is_rank0:
            return
        training = {"config": asdict(self.config), "sessions": self.sessions, "results": self.results}
        record = training_record(self.config, self.curriculum, self.results, self._earlier_record)
        model_file.save(self.folder / name, self.network, self.env_config, training, record)

    def pause(self, done: int) -> None:
        """Marks a place where the run can be cut. Writes a checkpoint if one is due.

        Args:
            done: Steps or iterations of the phase so far.

        Raises:
            KeyboardInterrupt: If the run was told to stop; everything is saved.
        """
        # A signal may reach one process only, but all must stop at the same place.
        self.stopping = any(self.process_group.gather(self.stopping))

        # Place 0 has its checkpoint from the end of the phase before.
        is_due = done > 0 and done % self.config.checkpoint_every == 0
        if self.stopping or is_due:
            self.checkpoint()
        if self.stopping:
            self.save()
            raise KeyboardInterrupt

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal: the run saves and stops where it can be cut next. A second signal stops it at once.

        So does the first one while there is nothing to save: during an evaluation, or before the first step of a
        session, in which loops are compiled.

        Args:
            signum: The signal.
            frame: The stack frame that it interrupted.

        Raises:
            KeyboardInterrupt: If there is nothing to save.
        """
        # Nothing is saved here: the run is in the middle of a step.
        self.stopping = True
        handle_stop_signals(signal.default_int_handler)

        # The first process ends the others. If one of them ended first, the first one would report a lost connection.
        if self.process_group.is_rank0 and self._place() == self._saved_place:
            raise KeyboardInterrupt
        try:
            self.display.print("saving and stopping; a second signal stops at once and loses what is not saved")
        except RuntimeError:
            # The signal has interrupted a write to the same stream, which is not reentrant.
            return


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Sets the handler of the signals that ask a run to stop: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal.

    The first two are handled even if they are ignored, as in the background of a shell script. An ignored SIGHUP stays
    ignored, since that is the purpose of ``nohup``.

    Args:
        handler: Called with the signal and the interrupted stack frame.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, handler)
    # Windows has no SIGHUP.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def _newest(checkpoints: Checkpoints, process_group: ProcessGroup) -> tuple[TrainConfig, dict[str, Any]]:
    """Reads the newest checkpoint in the first process and checks the number of processes."""
    config, state = checkpoints.newest()

    # Each process has a state of its own, so their number cannot change.
    size = len(state["others"]) + 1
    if size != process_group.size:
        raise CheckpointError(f"a run of {size} processes cannot continue in {process_group.size}; expected {size}")
    return config, state
