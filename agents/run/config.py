"""Everything that a run depends on, in one typed place. Every field is a flag of ``train_rl.py``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal, TypeVar

from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.imitation import WarmStartConfig
from o1nano.envs.core.levels import read_level
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import PRODUCTS, SUMS
from o1nano.envs.problems.expert import check_demonstrable
from o1nano.envs.problems.problem import Level
from o1nano.policies.device import find_device
from o1nano.policies.network.transformer import TransformerConfig

T = TypeVar("T")


@dataclass(frozen=True)
class PPOConfig:
    """PPO on whole frames (the arguments of Stable-Baselines3's ``PPO``, where they have the same name)."""

    n_envs: int = 96
    """Environments that are rolled out together."""
    n_steps: int = 96
    """Tokens of each environment in an epoch."""
    batch_size: int = 9216
    """Actions of a minibatch, about: frames are not cut."""
    n_epochs: int = 1
    """Passes over the frames of a rollout."""
    learning_rate: float = 2e-4
    """Peak of the learning rate (AdamW), after a short linear warm-up and before a linear decay."""
    gae_lambda: float = 1.0
    """Trace decay of the advantages."""
    clip_range: float = 0.2
    """Of the probability ratio."""
    target_kl: float = 0.01
    """Stops an epoch's passes when the approximate KL is 1.5 times this."""
    kl_coef: float = 0.1
    """Weight of the Kullback-Leibler divergence from the policy after the warm start: 0 for sizes far beyond it."""
    critic_epochs: int = 4
    """Passes of the critic over a rollout, after the policy's."""
    critic_learning_rate: float = 3e-3
    """Learning rate of the critic (Adam)."""
    max_grad_norm: float = 1.0
    """Largest gradient norm."""
    credit: Credit = "blame"
    """How a frame is rewarded: see FrameRolloutBuffer."""
    advantage: Advantage = "critic"
    """What the reward is compared with: the critic, or the others of a group (GRPO, or RLOO without the own one)."""
    group_size: int = 1
    """Episodes, one after the other as they begin, that every drawn problem is posed to: at least 2 where groups are
    compared."""


@dataclass(frozen=True)
class CurriculumConfig:
    """The curriculum; it begins with the demonstrated sizes."""

    strategy: Literal["adaptive", "uniform"] = "adaptive"
    """Adaptive, or uniform over all sizes from the beginning (then only sizes and window matter)."""
    sums: int = 6
    """Largest size of sums and differences."""
    products: int = 3
    """Largest size of products and quotients."""
    promote: float = 0.85
    """Success at the largest open size that opens the next."""
    demote: float = 0.3
    """Success below which it is closed again."""
    window: int = 64
    """Episodes of a size that its success is measured over."""
    sums_weight: float = 1.0
    """Factor of the weights of sums and differences: large products cost many times their tokens."""
    floor: float = 0.03
    """Weight of a level without failures; one without successes has this and 1."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out problems, greedy, one path."""

    problems: int = 100
    """Problems of each task and size."""
    sums: int = 6
    """Largest size of sums and differences."""
    products: int = 3
    """Largest size of products and quotients."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Without any flag: the reference run."""

    name: str = ""
    """Name of the folder under runs/; by default date, time and seed."""
    seed: int = 0
    """Of everything random."""
    start: str = ""
    """A model to begin with, such as pretrained/o1_model.pth, instead of fresh weights: its architecture stays. With
    --warm-start.steps 0 PPO begins at once."""
    epochs: int = 700
    """PPO epochs: one is one rollout and its update."""
    device: str = "auto"
    """cpu, cuda or auto."""
    processes: int = 0
    """Processes on this machine that share the work; 0: one for each core, four at most, and a single one on a GPU or
    where --threads is given."""
    threads: int = 0
    """CPU threads of each process; 0: the cores are shared out."""
    bf16: bool | None = None
    """Whether updates and rollouts compute in bfloat16; by default where the processor has instructions for it."""
    checkpoint_every: int = 25
    """Steps of the warm start, or epochs of PPO, between checkpoints; every phase ends with one too."""
    smoke: bool = False
    """Everything, but small: ends in under a minute and learns next to nothing."""
    digits: int = 3
    """Largest demonstrated size of sums and differences."""
    product_digits: int = 3
    """Largest demonstrated size of products and quotients."""
    also: tuple[str, ...] = ()
    """Levels that are demonstrated beside the four operations, as expression/1x3: FAMILY/SIZE or FAMILY/SIZExOTHER. PPO
    practises those without OTHER too, and the smaller sizes of their families."""
    frame_length: int = 144
    """Longest frame in tokens, in training and for the saved model."""
    call_stack: bool = True
    """Whether subtasks get frames of their own; without it everything is thought in one, which must be long."""
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(dropout=0.0))
    """Dropout is off: every demonstration is fresh, so there is nothing to overfit. Not ablated yet (docs/log.md)."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        for name, (low, high) in _RANGES.items():
            value = attrgetter(name)(self)
            if not low <= value <= high:  # neither is NaN
                raise ConfigurationError(f"{name}={value}; accepted: {_kind(value)} from {low} to {high}")
        if self.name and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.name, re.ASCII):
            raise ConfigurationError(
                f"name={self.name[:40]!r}; accepted: letters, digits, '_', '-' and '.', at most 100"
            )
        if self.ppo.advantage != "critic" and self.ppo.group_size < 2:
            raise ConfigurationError(f"ppo.group_size=1 with ppo.advantage={self.ppo.advantage}; accepted: at least 2")
        if self.ppo.n_envs * self.ppo.n_steps < 2:
            raise ConfigurationError("ppo.n_envs=1 with ppo.n_steps=1; accepted: at least 2 actions in an epoch")
        most = (self.frame_length - _WORDS) // 2
        for name in _SIZES:
            if attrgetter(name)(self) > most:
                size = attrgetter(name)(self)
                raise ConfigurationError(
                    f"{name}={size} with frame_length={self.frame_length}; accepted: at most {most}"
                )
        largest = [
            f"{family}/{size}"
            for families, size in ((SUMS, self.digits), (PRODUCTS, self.product_digits))
            for family in families
        ]
        for name in (*largest, *self.also):
            check_demonstrable(read_level(name), self.frame_length, self.call_stack)
        if self.epochs:  # beyond what is demonstrated, PPO must at least be able to solve it
            for families, size in ((SUMS, self.curriculum.sums), (PRODUCTS, self.curriculum.products)):
                for family in families:
                    check_demonstrable(Level(family, size), self.frame_length, self.call_stack, slip_rate=0)
        find_device(self.device)

    def small(self) -> TrainConfig:
        """The same run, small: what ``--smoke`` does. What was asked to be smaller still stays as it is."""
        return replace(
            _at_most(self, epochs=4, checkpoint_every=15),
            warm_start=_at_most(self.warm_start, steps=60, check_every=30, batch_tokens=512),
            ppo=_at_most(self.ppo, n_envs=16, n_steps=32, batch_size=256),
            evaluation=_at_most(self.evaluation, problems=4, sums=2, products=1),
        )


def _at_most(config: T, **largest: int) -> T:
    """Returns a configuration with none of these fields above its value here."""
    given: Any = config  # a dataclass, which a type variable cannot say
    smaller: T = replace(given, **{name: min(getattr(given, name), value) for name, value in largest.items()})
    return smaller


# The smallest and the largest value that makes sense, or is not a slip of the keyboard.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "epochs": (0, 10**9),
    "processes": (0, 1024),
    "threads": (0, 1024),
    "checkpoint_every": (1, 10**9),
    "digits": (1, 1000),
    "product_digits": (1, 1000),
    "frame_length": (32, 2**16),
    "warm_start.steps": (0, 10**9),
    "warm_start.batch_tokens": (1, 10**8),
    "warm_start.learning_rate": (0, 10),
    "warm_start.matrix_learning_rate": (0, 10),
    "warm_start.stop_at": (0, 2),
    "warm_start.check_every": (1, 10**9),
    "warm_start.slip_rate": (0, 1),
    "warm_start.spoil_rate": (0, 1),
    "warm_start.value_coef": (0, 1000),
    "ppo.n_envs": (1, 2**16),
    "ppo.n_steps": (1, 10**6),
    "ppo.batch_size": (2, 10**9),
    "ppo.n_epochs": (1, 1000),
    "ppo.learning_rate": (0, 10),
    "ppo.gae_lambda": (0, 1),
    "ppo.clip_range": (0, 100),
    "ppo.target_kl": (0, 1000),
    "ppo.kl_coef": (0, 1000),
    "ppo.critic_epochs": (1, 1000),
    "ppo.critic_learning_rate": (0, 10),
    "ppo.max_grad_norm": (0, 10**9),
    "ppo.group_size": (1, 2**16),
    "curriculum.sums": (1, 1000),
    "curriculum.products": (1, 1000),
    "curriculum.window": (1, 10**6),
    "curriculum.sums_weight": (0.001, 1000),
    "evaluation.problems": (1, 10**6),
    "evaluation.sums": (1, 1000),
    "evaluation.products": (1, 1000),
    "transformer.embedding": (2, 2**13),
    "transformer.layers": (1, 256),
    "transformer.feed_forward": (1, 2**16),
}
# A problem of two numbers of this size must leave room in a frame; it has so many words at most.
_SIZES = (
    "digits",
    "product_digits",
    "curriculum.sums",
    "curriculum.products",
    "evaluation.sums",
    "evaluation.products",
)
_WORDS = 12


def _kind(value: float) -> str:
    return "an integer" if isinstance(value, int) else "a number"
