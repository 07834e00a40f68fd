"""A training run of a second or two, for the tests of whole runs."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from o1nano.agents.learning.imitation import WarmStartConfig
from o1nano.agents.run.config import CurriculumConfig, EvaluationConfig, PPOConfig, TrainConfig
from o1nano.agents.run.prepare import prepare
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.policies.network.transformer import TransformerConfig

SMALL_RUN = TrainConfig(
    name="small",
    threads=1,
    iterations=2,
    sum_digits=1,
    product_digits=1,
    frame_length=64,
    checkpoint_every=1,
    warm_start=WarmStartConfig(steps=4, batch_tokens=128, check_every=2),
    ppo=PPOConfig(n_envs=6, n_steps=24, batch_size=64, n_epochs=2, kl_coef=0.1, imitation_coef=0.5),
    curriculum=CurriculumConfig(sum_digits=6, product_digits=3),
    evaluation=EvaluationConfig(problems_per_level=2, sum_digits=2, product_digits=1),
    transformer=TransformerConfig(embedding=16, heads=2, layers=1, feed_forward=16, dropout=0.1),
)


def flags(config: Any = SMALL_RUN, prefix: str = "--") -> list[str]:
    """The flags of ``train_rl.py`` that give a configuration."""
    out: list[str] = []
    for name, value in vars(config).items():
        name = name.replace("_", "-")
        if is_dataclass(value):
            out += flags(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            out.append(f"{prefix}{'' if value else 'no-'}{name}")
        elif value not in (None, "", ()):
            out += [f"{prefix}{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return out


def small_run(folder: Path, **changes: Any) -> Run:
    """A run that has not begun."""
    return Run(prepare(replace(SMALL_RUN, name=folder.name, **changes)), folder, Display(quiet=True))
