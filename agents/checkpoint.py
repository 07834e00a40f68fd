"""``o1_model.pth``: weights and configuration in one file that loads without executing code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch as th

import o1nano
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.errors import CheckpointError
from o1nano.envs.vocab import TOKENS
from o1nano.policies.network import ReasoningNetwork
from o1nano.policies.transformer import TransformerConfig

FORMAT = 1
# What reading a file can raise that is cut off, altered, or something else altogether.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OSError,
)


def save(path: Path, network: ReasoningNetwork, env: EnvConfig, training: Mapping[str, Any]) -> None:
    """Writes a model so that a reader sees the old file or the new one, never a part.

    Args:
        path: Usually ``runs/NAME/o1_model.pth``.
        network: The model.
        env: The environment's limits and grammar, which an answer needs.
        training: How it was trained: plain values only.
    """
    content = {
        "format": FORMAT,
        "version": o1nano.__version__,
        "tokens": list(TOKENS),
        "transformer": asdict(network.config),
        "env": {**asdict(env), "operations": list(env.operations), "digits": list(env.digit_range)},
        "training": dict(training),
        "weights": {name: tensor.cpu() for name, tensor in network.state_dict().items()},
    }
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        th.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: Path, device: str | th.device = "cpu") -> tuple[ReasoningNetwork, EnvConfig]:
    """Reads a model; nothing in the file is executed.

    Raises:
        CheckpointError: If the file is missing, is no such file, or was written for another vocabulary.
    """
    if not path.is_file():
        raise CheckpointError(f"no model at {str(path)!r}; accepted: an o1_model.pth written by train_rl.py")
    try:
        return _read(path, device)
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise CheckpointError(f"{str(path)!r} is no model file ({reason}); accepted: an o1_model.pth") from error


def _read(path: Path, device: str | th.device) -> tuple[ReasoningNetwork, EnvConfig]:
    content = th.load(path, map_location=device, weights_only=True)
    if not isinstance(content, dict) or content["format"] != FORMAT:
        found = content["format"] if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{str(path)!r} has format {found!r}; accepted: {FORMAT}")
    # Tokens are only ever appended, but a table of another size does not fit this version's heads.
    if tuple(content["tokens"]) != TOKENS:
        raise CheckpointError(
            f"{str(path)!r} has another vocabulary ({len(content['tokens'])} tokens); accepted: the {len(TOKENS)} of "
            f"o1nano {o1nano.__version__}, the file is from {content['version']}"
        )
    env = content["env"]
    config = EnvConfig(**{**env, "operations": tuple(env["operations"]), "digits": tuple(env["digits"])})
    network = ReasoningNetwork(TransformerConfig(**content["transformer"]), config.grammar)
    network.load_state_dict(content["weights"])
    return network.to(device).eval(), config
