"""Trains O1-nano: supervised warm start, then PPO under a curriculum. ``python train_rl.py --help`` lists all flags.

``torchrun --nnodes N train_rl.py`` does the same on N machines.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

# Before PyTorch is imported: threads that wait for each other soon sleep. Those that spin, as by default, stand still
# once another process wants the same processors (dev/LOG.md, "Threads that spin").
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import tyro

from o1nano.agents.learning.distributed import Team, end
from o1nano.agents.run.checkpoints import Snapshots
from o1nano.agents.run.cli import guarded, parse
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.launch import is_started, with_others
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run, prepare
from o1nano.agents.run.run_state import handle_stop_signals
from o1nano.envs.errors import ConfigurationError, O1NanoError, TeamError
from o1nano.policies.serialization import claim


@dataclass(frozen=True)
class Options:
    """What to train, or what to go on with."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    resume: Path | None = None
    """Continue a run that was cut, such as runs/NAME: exactly what it would have done. With --quiet at most."""
    quiet: bool = False
    """Print nothing but errors."""


def fresh(options: Options, team: Team | None = None) -> TrainConfig:
    """Returns the configuration of a new run, in processes that have been started or are to be."""
    config = prepare(options.config, team)
    own = Team(size=config.processes or 1).part("ppo.n_envs", config.ppo.n_envs)
    if own * config.ppo.n_steps < 2:
        raise ConfigurationError(
            f"ppo.n_envs={config.ppo.n_envs} on {config.processes} processes with ppo.n_steps=1; "
            "accepted: at least 2 actions of each process in an iteration"
        )
    folder = Path("runs") / config.name
    if folder.exists():
        raise ConfigurationError(f"--name {config.name}: {folder} exists; accepted: a new name, or --resume {folder}")
    return config


def is_over(config: TrainConfig, folder: Path) -> bool:
    """Tells whether nothing is left to do of a run that is to be resumed."""
    if config != TrainConfig():
        raise ConfigurationError("--resume with other flags; accepted: --resume alone: a run keeps its configuration")
    return (folder / "results.json").is_file()


def begin(options: Options, display: Display, team: Team) -> Run | None:
    """Returns the run that the flags ask for; None if there is nothing left of it to do."""
    if options.resume is None:
        config = team.lead(partial(fresh, options, team))
        run = Run(config, Path("runs") / config.name, display, team=team)
        team.lead(partial(claim, run.folder))
        return run
    if team.lead(partial(is_over, options.config, options.resume)):
        display.print(f"{options.resume} is finished: see {options.resume / 'results.json'}")
        return None
    team.lead(partial(claim, options.resume))
    return Run.resume(options.resume, display, team)


def processes(options: Options) -> int:
    """Returns how many processes the run needs on this machine; a run that goes on needs as many as before."""
    if options.resume is None:
        return fresh(options).processes or 1
    if is_over(options.config, options.resume):
        return 1
    return Snapshots(options.resume).newest(quietly=True)[0].processes or 1


def train() -> int:
    """Runs a training in as many processes as it asks for; returns the exit status."""
    if is_started():
        team = Team.join()
        return run_in(team.lead(partial(parse, Options, __doc__)), team)
    options = parse(Options, __doc__)
    return with_others(processes(options), partial(run_guarded, options))


def run_guarded(options: Options, team: Team) -> int:
    """Does one process's part of a training; returns the exit status, 2 for a mistake in the flags."""
    return guarded("train_rl.py", partial(run_in, options, team), needs_output=False)


def run_in(options: Options, team: Team) -> int:
    """Does one process's part of a training; returns the exit status."""
    display = Display(options.quiet or not team.leads)
    run = begin(options, display, team)
    if run is None:
        return 0
    handle_stop_signals(run.interrupt)
    try:
        run.execute()
    except KeyboardInterrupt:
        display.end()
        if team.leads:
            print(f"\nstopped; {team.command} train_rl.py --resume {run.folder} goes on", file=sys.stderr)
        return 130
    except O1NanoError as error:
        display.end()
        if not team.is_first_to_tell():  # when one has failed, the others lose their connection
            return 2
        if not isinstance(error, TeamError):
            raise
        again = f"{team.command} train_rl.py --resume {run.folder}"
        raise TeamError(f"{error}; accepted: {again}, from the last checkpoint") from error
    team.leave()
    display.print(f"\nwrote {run.folder}/: o1_model.pth, results.json, config.json, TensorBoard events, and more")
    return 0


def main() -> int:
    """Does what the flags say; returns the exit status, 2 for a mistake in them."""
    return guarded("train_rl.py", train, needs_output=False)


if __name__ == "__main__":
    end(main())
