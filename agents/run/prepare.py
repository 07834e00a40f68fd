"""Fills in what a configuration leaves to the machine: processes, threads, bfloat16, the name of the run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.run.build import build_curriculum
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.hardware import cores
from o1nano.envs.errors import ConfigurationError
from o1nano.policies.device import find_device, has_bf16
from o1nano.policies.model_file import load
from o1nano.policies.network.transformer import TransformerConfig

_MAX_PROCESSES = 4  # more only if they are asked for


def prepare(config: TrainConfig, process_group: ProcessGroup | None = None) -> TrainConfig:
    """Checks a configuration and fills in what it leaves to the machine.

    Args:
        config: What was asked for.
        process_group: The processes, if they have been started already.

    Returns:
        A configuration without None for name, processes, threads and bf16.

    Raises:
        ConfigurationError: If a value makes no sense.
        CheckpointError: If there is no model to start from.
    """
    config.validate()
    build_curriculum(config)  # checks its thresholds

    # The small run may be asked to be smaller still, but what was asked for must make sense first.
    if config.smoke:
        config = config.small()

    processes = process_group.size if process_group else choose_processes(config)
    if config.processes not in (None, processes):
        raise ConfigurationError(f"processes={config.processes}, but {processes} are running; expected {processes}")

    # Processes of other machines do not compete for the cores of this one.
    on_this_machine = process_group.on_machine if process_group else processes
    transformer = _architecture(config)
    return replace(
        config,
        # To the microsecond: two runs that start together do not share a folder.
        name=config.name or f"{datetime.now():%Y%m%d-%H%M%S-%f}-seed{config.seed}",
        processes=processes,
        threads=config.threads or max(1, cores() // on_this_machine),
        bf16=has_bf16(config.device) if config.bf16 is None else config.bf16,
        transformer=transformer,
    )


def _architecture(config: TrainConfig) -> TransformerConfig:
    """Returns the architecture that the run trains, after a check that its context holds a frame."""
    transformer = initial_architecture(config) if config.init_from else config.transformer

    # ``config.validate`` cannot check this: the architecture of a given model is known only now.
    if config.frame_length > transformer.max_context:
        raise ConfigurationError(
            f"frame_length={config.frame_length} with max_context={transformer.max_context}; "
            f"expected at most {transformer.max_context}"
        )
    return transformer


def choose_processes(config: TrainConfig) -> int:
    """Returns how many processes to start. Two are faster than one with two threads (docs/scaling.md)."""
    if config.processes:
        return config.processes
    if config.threads or find_device(config.device) != "cpu":
        return 1

    # Each process has the same number of environments.
    most = min(_MAX_PROCESSES, cores())
    return max(count for count in range(1, most + 1) if config.ppo.n_envs % count == 0)


def initial_architecture(config: TrainConfig) -> TransformerConfig:
    """Returns the architecture of the model that a run begins with.

    Raises:
        CheckpointError: If there is no such model.
        ConfigurationError: If another architecture is asked for.
    """
    # The default architecture counts as none: it cannot be told from no flag at all.
    network, _ = load(Path(config.init_from))
    if config.transformer not in (TrainConfig().transformer, network.config):
        raise ConfigurationError(
            f"--init-from {config.init_from} has another architecture than the flags --transformer.*; expected "
            f"{network.config}"
        )
    return network.config
