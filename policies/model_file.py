"""The file ``o1_model.pth``: weights and configuration, loaded without executing code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch as th

import o1nano
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import CheckpointError
from o1nano.envs.language.vocab import TOKENS
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.record import TrainingRecord
from o1nano.policies.serialization import UNREADABLE, dataclass_from_dict, read_sealed, short_reason, write_sealed

FORMAT = 2
# The weights that have a row for each token.
_ROWS_OF_TOKENS = (
    "trunk.tokens.weight",
    *("heads.reasoning.weight", "heads.reasoning.bias"),
    *("heads.completion.weight", "heads.completion.bias"),
    *("heads.subtask.weight", "heads.subtask.bias"),
)


class ModelFile(NamedTuple):
    """What is in a model file.

    Attributes:
        network: The model in evaluation mode.
        env: Limits and grammar of the environment that it was trained in.
        record: What it was trained on; None if the file does not say.
        tokens: The tokens that it knows.
    """

    network: ReasoningNetwork
    env: EnvConfig
    record: TrainingRecord | None
    tokens: tuple[str, ...]


def save(
    path: Path,
    network: ReasoningNetwork,
    env: EnvConfig,
    training: Mapping[str, Any],
    record: TrainingRecord | None = None,
) -> None:
    """Writes a model.

    Args:
        path: Usually ``runs/NAME/o1_model.pth``.
        network: The model.
        env: Limits and grammar of the environment, which decoding needs.
        training: How it was trained: plain values only.
        record: What it was trained on, which it is to know.
    """
    # Plain values only: everything else would need pickle, which executes code.
    content = {
        "format": FORMAT,
        "version": o1nano.__version__,
        "tokens": list(TOKENS),
        "transformer": asdict(network.config),
        "env": {**asdict(env), "operations": list(env.operations)},
        "training": dict(training),
        "weights": dict(network.state_dict()),
    }
    if record is not None:
        content["record"] = record.as_dict()
    write_sealed(path, content)


def load(path: str | Path, device: str | th.device = "cpu") -> tuple[ReasoningNetwork, EnvConfig]:
    """Reads a model and its environment: see ``load_all``.

    Args:
        path: The file, or the folder of its run.
        device: Where the weights are put.
    """
    found = load_all(path, device)
    return found.network, found.env


def load_all(path: str | Path, device: str | th.device = "cpu") -> ModelFile:
    """Reads a model file. Nothing in the file is executed.

    Args:
        path: The file, or the folder of its run.
        device: Where the weights are put.

    Raises:
        CheckpointError: If the file is missing or is no model file, has another vocabulary, or holds weights that are
            not finite.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "o1_model.pth"
    if not path.is_file():
        raise CheckpointError(f"no model at {str(path)!r}; expected an o1_model.pth written by train_rl.py")
    content, sealed = read_sealed(path, device)
    try:
        return _build(path, content, sealed, device)
    except CheckpointError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is not a model file ({short_reason(error)}); expected an o1_model.pth"
        ) from error


def check_tokens(path: Path, content: Mapping[str, Any], may_be_older: bool = False) -> None:
    """Checks that a file has the vocabulary of this version. With another one its weights would mean other tokens.

    Args:
        path: The file, for the error.
        content: What is in it.
        may_be_older: Whether the last tokens may be missing: tokens are only ever appended.

    Raises:
        CheckpointError: If the vocabulary is another one.
    """
    tokens = tuple(content["tokens"])
    known = TOKENS[: len(tokens)] if may_be_older else TOKENS
    if tokens != known:
        raise CheckpointError(
            f"{str(path)!r} is from o1nano {content['version']} and has another vocabulary ({len(content['tokens'])} "
            f"tokens); expected the {len(TOKENS)} tokens of o1nano {o1nano.__version__}"
        )


def with_new_tokens(weights: Mapping[str, th.Tensor], known: int) -> dict[str, th.Tensor]:
    """Returns weights with a row of zeros for each token that is newer than they are.

    The embedding and the decoders have a row for each token. The model has not learned the new ones: ``known_tokens``
    says which it has, and they are never an action, because words stand in prompts only.

    Args:
        weights: The weights of a model file.
        known: The number of tokens of its vocabulary.
    """
    padded = dict(weights)
    for name in _ROWS_OF_TOKENS:
        rows = weights[name]
        if len(rows) != known:
            raise ValueError(f"{len(rows)} rows in {name} for {known} tokens")
        new = rows.new_zeros(len(TOKENS) - known, *rows.shape[1:])
        padded[name] = th.cat((rows, new))
    return padded


def _build(path: Path, content: Any, sealed: bool, device: str | th.device) -> ModelFile:
    form = content["format"] if isinstance(content, dict) else type(content).__name__
    if form != FORMAT:
        raise CheckpointError(f"{str(path)!r} has format {form!r}; expected {FORMAT}")
    if not sealed:
        raise CheckpointError(f"{str(path)!r} has lost its checksum; expected an o1_model.pth as it was written")
    check_tokens(path, content, may_be_older=True)

    env = dataclass_from_dict(EnvConfig, content["env"])
    shape = dataclass_from_dict(TransformerConfig, content["transformer"])
    # Checked before anything of this size is allocated: every layer has weights.
    if shape.layers > len(content["weights"]) or env.limits.frame_length > shape.max_context:
        raise CheckpointError(f"{str(path)!r} has weights of another shape; expected an o1_model.pth")

    # load_state_dict compares names and shapes with the architecture.
    network = ReasoningNetwork(shape, env.grammar)
    network.load_state_dict(with_new_tokens(content["weights"], len(content["tokens"])))
    for name, weights in network.state_dict().items():
        if not th.isfinite(weights).all():
            raise CheckpointError(f"{str(path)!r} holds NaN or infinite weights ({name}); expected finite numbers")

    record = TrainingRecord.restore(content["record"]) if "record" in content else None
    known = tuple(record.tokens) if record else tuple(content["tokens"])
    return ModelFile(network.to(device).eval(), env, record, known)
