"""Everything that a run depends on, in one typed place. Every field is a flag of ``train_rl.py``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.imitation import WarmStartConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import PRODUCTS, SUMS
from o1nano.envs.problems.expert import check_demonstrable
from o1nano.envs.problems.problem import Level, read_level
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies.device import find_device
from o1nano.policies.network.transformer import TransformerConfig

# 0 would read like "off" and mean that nothing is learned; off is None.
_TINY = 1e-9

T = TypeVar("T")


@dataclass(frozen=True)
class PPOConfig:
    """PPO on whole frames (the arguments of Stable-Baselines3's ``PPO``, where they have the same name)."""

    n_envs: Annotated[int, Range(1, 2**16)] = 96
    """Environments that are rolled out together."""
    n_steps: Annotated[int, Range(1, 10**6)] = 96
    """Tokens of each environment in an iteration."""
    batch_size: Annotated[int, Range(2, 10**9)] = 9216
    """Actions of a minibatch, about: frames are not cut."""
    n_epochs: Annotated[int, Range(1, 1000)] = 1
    """Passes over the frames of a rollout."""
    learning_rate: Annotated[float, Range(0, 10)] = 2e-4
    """Peak of the learning rate (AdamW), after a short linear warm-up and before a linear decay."""
    gae_lambda: Annotated[float, Range(0, 1)] = 1.0
    """Trace decay of the advantages."""
    clip_range: Annotated[float, Range(_TINY, 100)] = 0.2
    """Of the probability ratio."""
    target_kl: Annotated[float | None, Range(_TINY, 1000)] = 0.01
    """Stops the passes of an iteration when the approximate KL is 1.5 times this; None never does."""
    kl_coef: Annotated[float, Range(0, 1000)] = 0.1
    """Weight of the Kullback-Leibler divergence from the policy after the warm start: 0 for sizes far beyond it."""
    critic_epochs: Annotated[int, Range(1, 1000)] = 4
    """Passes of the critic over a rollout, after the policy's."""
    critic_learning_rate: Annotated[float, Range(0, 10)] = 3e-3
    """Learning rate of the critic (Adam)."""
    max_grad_norm: Annotated[float | None, Range(_TINY, 10**9)] = 1.0
    """Largest gradient norm; None never clips."""
    credit: Credit = "blame"
    """How a frame is rewarded: see FrameRolloutBuffer."""
    advantage: Advantage = "critic"
    """What the reward is compared with: the critic, or the others of a group (GRPO, or RLOO without the own one)."""
    group_size: Annotated[int, Range(1, 2**16)] = 1
    """Episodes, one after the other as they begin, that every drawn problem is posed to: at least 2 where groups are
    compared."""


@dataclass(frozen=True)
class CurriculumConfig:
    """The curriculum; it begins with the demonstrated sizes."""

    strategy: Literal["adaptive", "uniform"] = "adaptive"
    """Adaptive, or uniform over all sizes from the beginning (then only sizes and window matter)."""
    sum_digits: Annotated[int, Range(1, 1000)] = 6
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest size of products and quotients."""
    promote: float = 0.85
    """Success at the largest open size that opens the next."""
    demote: float = 0.3
    """Success below which it is closed again."""
    window: Annotated[int, Range(1, 10**6)] = 64
    """Episodes of a size that its success is measured over."""
    sum_weight: Annotated[float, Range(0.001, 1000)] = 1.0
    """Factor of the weights of sums and differences: large products cost many times their tokens."""
    floor: float = 0.03
    """Weight of a level without failures; one without successes has this and 1."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out problems, greedy, one path."""

    problems_per_level: Annotated[int, Range(1, 10**6)] = 100
    """Problems of each task and size, none twice; all of them, where there are fewer."""
    sum_digits: Annotated[int, Range(1, 1000)] = 6
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest size of products and quotients."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Without any flag: the reference run."""

    name: str = ""
    """Name of the folder under runs/; by default date, time and seed."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Of everything random."""
    init_from: str = ""
    """A model to begin with, such as pretrained/o1_model.pth, instead of fresh weights: its architecture stays. With
    --warm-start.steps 0 PPO begins at once."""
    iterations: Annotated[int, Range(0, 10**9)] = 700
    """Iterations of PPO: a rollout and its update each."""
    device: str = "auto"
    """cpu, cuda or auto."""
    processes: Annotated[int | None, Range(1, 1024)] = None
    """Processes on this machine that share the work. By default one for each core, at most four; only one on a GPU or
    if --threads is given."""
    threads: Annotated[int | None, Range(1, 1024)] = None
    """CPU threads of each process. By default the processes share the cores equally."""
    bf16: bool | None = None
    """Whether updates and rollouts compute in bfloat16; by default where the processor has instructions for it."""
    checkpoint_every: Annotated[int, Range(1, 10**9)] = 25
    """Steps of the warm start, or iterations of PPO, between checkpoints; every phase ends with one too."""
    smoke: bool = False
    """Everything, but small: ends in under a minute and learns next to nothing."""
    sum_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest demonstrated size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest demonstrated size of products and quotients."""
    extra_levels: tuple[str, ...] = ()
    """Levels that are demonstrated beside the four operations, as expression/1x3: FAMILY/SIZE or FAMILY/SIZExOTHER. PPO
    practises those without OTHER too, and the smaller sizes of their families."""
    frame_length: Annotated[int, Range(32, 2**16)] = 144
    """Longest frame in tokens, in training and for the saved model."""
    call_stack: bool = True
    """Whether subtasks get frames of their own; without it everything is thought in one, which must be long."""
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(dropout=0.0))
    """Dropout is off: every demonstration is fresh, so there is nothing to overfit. Not ablated yet (dev/LOG.md)."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        check_ranges(self)
        if self.name and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.name, re.ASCII):
            raise ConfigurationError(
                f"name={self.name[:40]!r}; accepted: letters, digits, '_', '-' and '.', at most 100"
            )
        if self.ppo.advantage != "critic" and self.ppo.group_size < 2:
            raise ConfigurationError(f"ppo.group_size=1 with ppo.advantage={self.ppo.advantage}; accepted: at least 2")
        if self.ppo.n_envs * self.ppo.n_steps < 2:
            raise ConfigurationError("ppo.n_envs=1 with ppo.n_steps=1; accepted: at least 2 actions in an iteration")
        most = (self.frame_length - _WORDS) // 2
        for name in _SIZES:
            if attrgetter(name)(self) > most:
                size = attrgetter(name)(self)
                raise ConfigurationError(
                    f"{name}={size} with frame_length={self.frame_length}; accepted: at most {most}"
                )
        largest = [
            f"{family}/{size}"
            for families, size in ((SUMS, self.sum_digits), (PRODUCTS, self.product_digits))
            for family in families
        ]
        for name in (*largest, *self.extra_levels):
            check_demonstrable(read_level(name), self.frame_length, self.call_stack)
        if self.iterations:  # beyond what is demonstrated, PPO must at least be able to solve it
            for families, size in ((SUMS, self.curriculum.sum_digits), (PRODUCTS, self.curriculum.product_digits)):
                for family in families:
                    check_demonstrable(Level(family, size), self.frame_length, self.call_stack, mistake_rate=0)
        find_device(self.device)

    def small(self) -> TrainConfig:
        """The same run, small: what ``--smoke`` does. What was asked to be smaller still stays as it is."""
        return replace(
            _at_most(self, iterations=4, checkpoint_every=15),
            warm_start=_at_most(self.warm_start, steps=60, check_every=30, batch_tokens=512),
            ppo=_at_most(self.ppo, n_envs=16, n_steps=32, batch_size=256),
            evaluation=_at_most(self.evaluation, problems_per_level=4, sum_digits=2, product_digits=1),
        )


def _at_most(config: T, **largest: int) -> T:
    """Returns a configuration with none of these fields above its value here."""
    given: Any = config  # a dataclass, which a type variable cannot say
    changes = {}
    for name, value in largest.items():
        # None means "never", which is less than any number.
        if getattr(given, name) is not None:
            changes[name] = min(getattr(given, name), value)

    smaller: T = replace(given, **changes)
    return smaller


# A problem of two numbers of this size must leave room in a frame; it has so many words at most.
_SIZES = (
    "sum_digits",
    "product_digits",
    "curriculum.sum_digits",
    "curriculum.product_digits",
    "evaluation.sum_digits",
    "evaluation.product_digits",
)
_WORDS = 12
