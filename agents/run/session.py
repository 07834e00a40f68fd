"""One session of a run: from the flags to the processes, the run that they open, and an exit status."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run.checkpoints import Checkpoints
from o1nano.agents.run.cli import guarded, parse, program_name
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.launch import is_started, with_others
from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run, handle_stop_signals
from o1nano.envs.errors import ConfigurationError, O1NanoError, ProcessGroupError
from o1nano.policies.serialization import lock_run

_PROGRAM = program_name("train_rl.py", "o1nano-train")
Recipe = Callable[[Run], None]


@dataclass(frozen=True)
class Options:
    """The flags of ``train_rl.py``."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    resume: Path | None = None
    """Continue a run that was stopped, such as runs/NAME, exactly where its last checkpoint is. Takes no other flag but
    --quiet."""
    quiet: bool = False
    """Print errors only."""


def run_session(recipe: Recipe, description: str | None) -> int:
    """Reads the flags and trains, in several processes if the run has them.

    Args:
        recipe: What to do with the run. Must be picklable: the other processes call it too.
        description: What ``--help`` says first.

    Returns:
        The exit status, 2 for a mistake in the flags.
    """
    return guarded(_PROGRAM, partial(_launch, recipe, description), needs_output=False)


def _launch(recipe: Recipe, description: str | None) -> int:
    """Starts the other processes, unless torchrun has done so."""
    # torchrun has started all processes with the same flags. The first one reads them, so that a mistake in them is
    # reported once.
    if is_started():
        process_group = ProcessGroup.join()
        options = process_group.broadcast_from_rank0(partial(parse, Options, description))
        return _train(recipe, options, process_group)

    # Flags are read before other processes start: a mistake must not start any.
    options = parse(Options, description)
    return with_others(_process_count(options), partial(_train_guarded, recipe, options))


def _process_count(options: Options) -> int:
    """Returns how many processes the run needs on this machine. A resumed run needs the same number as before."""
    if options.resume is None:
        config = prepare_new_run(options.config)
    elif is_finished(options):
        return 1
    else:
        # The run itself reads it again, and then names the checkpoints that it skips.
        config, _ = Checkpoints(options.resume).newest(quietly=True)
    return config.processes or 1


def _train_guarded(recipe: Recipe, options: Options, process_group: ProcessGroup) -> int:
    return guarded(_PROGRAM, partial(_train, recipe, options, process_group), needs_output=False)


def _train(recipe: Recipe, options: Options, process_group: ProcessGroup) -> int:
    """Does one process's part of the training; returns the exit status."""
    display = Display(options.quiet or not process_group.is_rank0)
    run = open_run(options, display, process_group)
    if run is None:
        return 0

    # From here on there is something to save.
    handle_stop_signals(run.interrupt)
    resume_command = f"{_start_command(process_group)} --resume {shlex.quote(str(run.folder))}"
    try:
        recipe(run)
    except KeyboardInterrupt:
        display.end()
        if process_group.is_rank0:
            print(f"\nstopped; to continue: {resume_command}", file=sys.stderr)
        return 130
    except O1NanoError as error:
        display.end()
        # When one process fails, the others lose their connection. One report is enough.
        if not process_group.report_once():
            return 2
        # Any other error is a mistake in the flags or a full disk, and says itself what to do.
        if not isinstance(error, ProcessGroupError):
            raise
        raise ProcessGroupError(f"{error}; to continue from the last checkpoint: {resume_command}") from error
    finally:
        # Python's own clean-up, in which a tracked run would end, is skipped if there are several processes.
        run.logger.close()
    process_group.leave()
    display.print(f"\nwrote {run.folder}/: o1_model.pth, results.json, config.json, TensorBoard events, and more")
    return 0


def _start_command(process_group: ProcessGroup) -> str:
    """Returns the command that starts the same number of processes, without flags."""
    launcher = process_group.command
    if _PROGRAM.endswith(".py"):
        return f"{launcher} {_PROGRAM}"
    # The installed command is a program of its own.
    return _PROGRAM if launcher == "python" else f"{launcher} --no-python {_PROGRAM}"


def prepare_new_run(config: TrainConfig, process_group: ProcessGroup | None = None) -> TrainConfig:
    """Checks the configuration of a new run and fills in what it leaves to the machine.

    Args:
        config: What the flags say.
        process_group: The processes, if they have been started already.

    Raises:
        ConfigurationError: If a value makes no sense, or a run of that name exists.
    """
    # All that can be known to be wrong is refused before the folder of the run exists.
    config = prepare(config, process_group)
    own_envs = ProcessGroup(size=config.processes or 1).divide("ppo.n_envs", config.ppo.n_envs)
    if own_envs * config.ppo.n_steps < 2:
        raise ConfigurationError(
            f"ppo.n_envs={config.ppo.n_envs} on {config.processes} processes with ppo.n_steps=1; "
            "expected at least 2 actions of each process in an iteration"
        )
    folder = Path("runs") / config.name
    if folder.exists():
        raise ConfigurationError(f"--name {config.name}: {folder} exists; expected a new name, or --resume {folder}")
    return config


def is_finished(options: Options) -> bool:
    """Returns whether the run that ``--resume`` names has nothing left to do.

    Raises:
        ConfigurationError: If there are other flags: a run keeps its configuration.
    """
    assert options.resume is not None
    if options.config != TrainConfig():
        raise ConfigurationError(
            "--resume with other flags, but a run keeps its configuration; expected --resume alone"
        )
    return (options.resume / "results.json").is_file()


def open_run(options: Options, display: Display, process_group: ProcessGroup) -> Run | None:
    """Creates or resumes the run that the flags ask for, and locks its folder.

    Args:
        options: The flags.
        display: Shows the progress.
        process_group: The processes that train together.

    Returns:
        The run; None if it is finished.
    """
    if options.resume is None:
        config = process_group.broadcast_from_rank0(partial(prepare_new_run, options.config, process_group))
        run = Run(config, Path("runs") / config.name, display, process_group=process_group)
        process_group.broadcast_from_rank0(partial(lock_run, run.folder))
        return run

    if process_group.broadcast_from_rank0(partial(is_finished, options)):
        display.print(f"{options.resume} is finished: see {options.resume / 'results.json'}")
        return None
    process_group.broadcast_from_rank0(partial(lock_run, options.resume))
    return Run.resume(options.resume, display, process_group)
