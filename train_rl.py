"""Trains O1-nano: supervised warm start, then PPO under a curriculum. ``python train_rl.py --help`` lists all flags."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from o1nano.agents.command_line import guarded, parse
from o1nano.agents.config import TrainConfig
from o1nano.agents.progress import Display
from o1nano.agents.training import Run, prepare
from o1nano.envs.errors import ConfigurationError


@dataclass(frozen=True)
class Options:
    """What to train, or what to go on with."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    resume: Path | None = None
    """Continue a run that was cut, such as runs/NAME: exactly what it would have done. With --quiet at most."""
    quiet: bool = False
    """Print nothing but errors."""


def begin(options: Options, display: Display) -> Run | None:
    """Returns the run that the flags ask for; None if there is nothing left of it to do."""
    if options.resume is None:
        config = prepare(options.config)
        folder = Path("runs") / config.name
        if folder.exists():
            raise ConfigurationError(
                f"--name {config.name}: {folder} exists; accepted: a new name, or --resume {folder}"
            )
        return Run(config, folder, display)
    if options.config != TrainConfig():
        raise ConfigurationError("--resume with other flags; accepted: --resume alone: a run keeps its configuration")
    if (options.resume / "results.json").is_file():
        display.print(f"{options.resume} is finished: see {options.resume / 'results.json'}")
        return None
    return Run.resume(options.resume, display)


def train() -> int:
    """Runs a training; returns the exit status."""
    options = parse(Options, __doc__)
    display = Display(options.quiet)
    run = begin(options, display)
    if run is None:
        return 0
    # Also where they would be ignored, as in the background of a script.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, run.interrupt)
    try:
        run.execute()
    except KeyboardInterrupt:
        display.end()
        print(f"\nstopped; python train_rl.py --resume {run.folder} goes on", file=sys.stderr)
        return 130
    display.print(f"\nwrote {run.folder}/: o1_model.pth, results.json, config.json, TensorBoard events, and more")
    return 0


def main() -> int:
    """Does what the flags say; returns the exit status, 2 for a mistake in them."""
    return guarded("train_rl.py", train)


if __name__ == "__main__":
    sys.exit(main())
