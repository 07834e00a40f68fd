"""Weights & Biases and Trackio: mirrors of TensorBoard's scalars. Neither has to be installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from stable_baselines3.common.logger import KVWriter

from o1nano.envs.errors import ConfigurationError
from o1nano.policies.serialization import write_json

Service = Literal["wandb", "trackio"]

_PROJECT = "o1nano"
_ID_FILE = "tracking.json"  # in the folder of the run, so that a run that was renamed continues the same tracked run


def check_installed(service: Service) -> None:
    """Checks that the package of a service is there.

    Args:
        service: Name of the service, which is the package's too.

    Raises:
        ConfigurationError: If it is not.
    """
    # wandb writes into a folder of its own name. Without an origin, Python has found that folder, not the package.
    found = importlib.util.find_spec(service)
    if found is None or found.origin is None:
        raise ConfigurationError(
            f"--track {service}: the package {service} is not installed; expected it after: pip install {service}"
        )


class Tracker(KVWriter):
    """Stable-Baselines3's output format that sends every scalar to a service, at the same steps as TensorBoard.

    A resumed run continues the same tracked run. After a crash it repeats some steps, exactly: wandb drops the second
    ones, Trackio keeps both.

    Args:
        service: Where to.
        folder: The run's. Its name becomes the name of the tracked run.
        config: The run's, on one level.

    Raises:
        ConfigurationError: If the package is not installed, or the service refuses the run.
    """

    def __init__(self, service: Service, folder: Path, config: Mapping[str, Any]) -> None:
        check_installed(service)
        library = importlib.import_module(service)
        run_id = _run_id(folder)
        settings = {"project": _PROJECT, "config": dict(config), "resume": "allow"}
        if service == "wandb":
            # Its own capture of the terminal would break the progress display.
            settings |= {"id": run_id, "name": folder.name, "dir": str(folder), "settings": {"console": "off"}}
        else:
            # Trackio finds a run by its name.
            settings |= {"name": f"{folder.name}-{run_id}"}
        self.run = _begin(library, settings)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Sends the scalars among the values; texts, pictures and hyperparameters are left to TensorBoard.

        Args:
            key_values: What was recorded, by name.
            key_excluded: For each name the formats that do not write it.
            step: Tokens since the beginning of the run.
        """
        scalars = {}
        for name, value in key_values.items():
            is_shown = "tensorboard" not in key_excluded[name]
            if is_shown and isinstance(value, (int, float, np.number)):
                scalars[name] = float(value)
        if scalars:
            self.run.log(scalars, step=step)

    def close(self) -> None:
        """Sends what is left, and waits for it."""
        self.run.finish()


def _run_id(folder: Path) -> str:
    """Returns the id of a run for the service. A new run gets a new one."""
    path = folder / _ID_FILE
    if not path.exists():
        write_json(path, {"id": uuid.uuid4().hex[:8]})
    return str(json.loads(path.read_text())["id"])


def _begin(library: ModuleType, settings: Mapping[str, Any]) -> Any:
    """Begins or continues a tracked run.

    Raises:
        ConfigurationError: If the service refuses it, for example because no one is logged in.
    """
    # Trackio has no class of its own for its errors.
    refused = getattr(library, "Error", ValueError)
    try:
        return library.init(**settings)
    except refused as error:
        raise ConfigurationError(
            f"--track {library.__name__}: {error}; expected a service that accepts the run"
        ) from error
