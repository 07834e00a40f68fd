"""Trains O1-nano: supervised warm start, then PPO under a curriculum. ``python train_rl.py --help`` lists all flags."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import tyro

from o1nano.agents.config import TrainConfig
from o1nano.agents.training import Run, prepare
from o1nano.envs.errors import ConfigurationError, O1NanoError


def main() -> int:
    """Runs a training; returns the exit status."""
    try:
        config = prepare(tyro.cli(TrainConfig, description=__doc__))
        folder = Path("runs") / config.name
        if folder.exists():
            raise ConfigurationError(f"--name {config.name}: {folder} exists; accepted: a new name")
        run = Run(config, folder)
    except O1NanoError as error:
        print(f"train_rl.py: {error}", file=sys.stderr)
        return 2
    # Also where they would be ignored, as in the background of a script.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        run.execute()
    except KeyboardInterrupt:
        run.save()
        print(f"\nstopped; the model so far is {folder / 'o1_model.pth'}", file=sys.stderr)
        return 130
    print(f"\nwrote {folder}/: config.json, o1_model.pth, o1_model.zip, results.json, TensorBoard events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
