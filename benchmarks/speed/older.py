"""Makes commit 69e04a9 importable under today's names, as far as ``train_step`` needs them."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

MODULES = {
    "agents.learning.distributed": "agents.distributed",
    "agents.learning.imitation": "agents.warm_start",
    "agents.learning.packing": "agents.packing",
    "agents.learning.vec_env": "agents.vec_env",
    "agents.run.build": "agents.building",
    "agents.run.config": "agents.config",
    "envs.language.vocab": "envs.vocab",
    "policies.device": "agents.machine",
    "policies.network.transformer": "policies.transformer",
}


def use_old_names() -> None:
    """Registers the old modules, and the classes in them that have other names today."""
    for today, then in MODULES.items():
        sys.modules[f"o1nano.{today}"] = import_module(f"o1nano.{then}")
    packing = import_module("o1nano.agents.packing")
    packing.TrainingFrame = partial(packing.ClosedFrame, episode=0)  # type: ignore[attr-defined]
    packing.pack_training_frames = packing.pack_closed  # type: ignore[attr-defined]
    distributed = import_module("o1nano.agents.distributed")
    distributed.ProcessGroup = distributed.Team  # type: ignore[attr-defined]
