"""The configuration of a run. Every field is a flag of ``train_rl.py``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

from o1nano.agents.learning.credit import Advantage, Credit
from o1nano.agents.learning.imitation import WarmStartConfig
from o1nano.agents.run.plans import read_plans
from o1nano.agents.run.tracking import Service, check_installed
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import PRODUCTS, SUMS
from o1nano.envs.problems.expert import check_demonstrable
from o1nano.envs.problems.problem import Level, Phrasing, read_level
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies.device import find_device
from o1nano.policies.network.transformer import TransformerConfig

# The lower bound of what must be above 0. For the user 0 would look like "off", but nothing would be learned; off is
# None.
_TINY = 1e-9
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_MAX_WORDS = 12  # tokens of the longest phrasing of a problem of two numbers, without the numbers
# Problems of two numbers of these sizes must leave room in a frame.
_SIZES = (
    "sum_digits",
    "product_digits",
    "curriculum.sum_digits",
    "curriculum.product_digits",
    "evaluation.sum_digits",
    "evaluation.product_digits",
)

T = TypeVar("T")


@dataclass(frozen=True)
class PPOConfig:
    """PPO on whole frames (the arguments of Stable-Baselines3's ``PPO``, where they have the same name)."""

    n_envs: Annotated[int, Range(1, 2**16)] = 96
    """Environments in a rollout."""
    n_steps: Annotated[int, Range(1, 10**6)] = 96
    """Tokens of each environment in an iteration."""
    batch_size: Annotated[int, Range(2, 10**9)] = 9216
    """Actions in a minibatch, approximately: frames are not cut."""
    n_epochs: Annotated[int, Range(1, 1000)] = 1
    """Passes over the frames of a rollout."""
    learning_rate: Annotated[float, Range(0, 10)] = 4e-4
    """Peak of the learning rate (AdamW), after a short linear warm-up and before a linear decay."""
    gae_lambda: Annotated[float, Range(0, 1)] = 1.0
    """Trace decay of the advantages."""
    clip_range: Annotated[float, Range(_TINY, 100)] = 0.2
    """Of the probability ratio."""
    target_kl: Annotated[float | None, Range(_TINY, 1000)] = 0.01
    """Stops the passes of an iteration when the approximate KL reaches 1.5 times this. None never stops."""
    kl_coef: Annotated[float, Range(0, 1000)] = 0.0
    """Weight of the Kullback-Leibler divergence from the policy after the warm start. It keeps PPO near what imitation
    has found, and so from sizes far beyond the demonstrations."""
    imitation_coef: Annotated[float, Range(0, 1000)] = 1.0
    """Weight of the loss of demonstrations, a batch of which joins every minibatch. It keeps the demonstrated sizes
    while PPO learns others. A batch has the tokens of a batch of the warm start."""
    critic_epochs: Annotated[int, Range(1, 1000)] = 4
    """Passes of the critic over a rollout, after the policy's."""
    critic_learning_rate: Annotated[float, Range(0, 10)] = 3e-3
    """Learning rate of the critic (Adam)."""
    max_grad_norm: Annotated[float | None, Range(_TINY, 10**9)] = 1.0
    """Largest gradient norm. None never clips."""
    credit: Credit = "blame"
    """How a frame is rewarded: see FrameRolloutBuffer."""
    advantage: Advantage = "critic"
    """What the reward is compared with: the critic, or the others of a group (GRPO, or RLOO without the own one)."""
    group_size: Annotated[int, Range(1, 2**16)] = 1
    """Episodes, one after the other as they begin, that every drawn problem is posed to: at least 2 where groups are
    compared."""


@dataclass(frozen=True)
class CurriculumConfig:
    """The curriculum. It begins with the demonstrated sizes."""

    strategy: Literal["adaptive", "uniform"] = "adaptive"
    """Adaptive, or uniform over all sizes from the beginning (then only the sizes and the window matter)."""
    sum_digits: Annotated[int, Range(1, 1000)] = 11
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 6
    """Largest size of products and quotients."""
    promote: float = 0.7
    """Success at the largest open size that opens the next."""
    demote: float = 0.05
    """Success at the largest open size below which it is closed again."""
    window: Annotated[int, Range(1, 10**6)] = 64
    """Number of recent episodes over which the success at a size is measured."""
    sum_weight: Annotated[float, Range(0.001, 1000)] = 1.0
    """Factor on the weights of sums and differences. Large products take many times their tokens."""
    floor: float = 0.03
    """Weight of a level without failures. A level without successes has a weight of 1 plus this."""


@dataclass(frozen=True)
class EvaluationConfig:
    """The evaluation before and after PPO: held-out problems, one greedy path each."""

    problems_per_level: Annotated[int, Range(1, 10**6)] = 100
    """Problems of each task and size, all different. If the test split has fewer, all of them."""
    sum_digits: Annotated[int, Range(1, 1000)] = 10
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 5
    """Largest size of products and quotients."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Without any flag: the reference run."""

    name: str = ""
    """Name of the folder in runs/. By default date, time and seed."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of everything random."""
    init_from: str = ""
    """A model to begin with, such as pretrained/o1_model.pth, instead of random weights. Its architecture stays. With
    --warm-start.steps 0 PPO begins at once."""
    iterations: Annotated[int, Range(0, 10**9)] = 400
    """Iterations of PPO. Each is a rollout and its update."""
    device: str = "auto"
    """cpu, cuda or auto."""
    processes: Annotated[int | None, Range(1, 1024)] = None
    """Processes on this machine that share the work. By default one for each core, at most four; only one on a GPU or
    if --threads is given."""
    threads: Annotated[int | None, Range(1, 1024)] = None
    """CPU threads of each process. By default the processes share the cores equally."""
    bf16: bool | None = None
    """Whether updates and rollouts compute in bfloat16. By default if the processor has instructions for it."""
    checkpoint_every: Annotated[int, Range(1, 10**9)] = 25
    """Steps of the warm start, or iterations of PPO, between checkpoints. Every phase ends with one too."""
    track: Service | None = None
    """Mirrors TensorBoard's scalars to Weights & Biases or Trackio. The package of that name must be installed."""
    smoke: bool = False
    """Does everything, but small: takes less than a minute, and the model is not useful."""
    sum_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest demonstrated size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest demonstrated size of products and quotients."""
    extra_levels: tuple[str, ...] = ()
    """Levels that are demonstrated in addition to the four operations, as expression/1x3: FAMILY/SIZE or
    FAMILY/SIZExOTHER. PPO practises those without OTHER too, and the smaller sizes of their families."""
    plans: tuple[str, ...] = ()
    """What becomes of a family: FAMILY/DEMONSTRATED-LARGEST*SHARE. Sizes 1 to DEMONSTRATED are demonstrated, PPO may go
    on to LARGEST, and each of its levels is drawn SHARE times as often as others. gcd/2-4*0.5, gcd/2-4 and gcd/2 are
    plans. Families without one go by the flags above."""
    phrasing: Phrasing = "mixed"
    """How problems are written, in demonstrations, for PPO and in the evaluations: symbolic, words, mixed, or everyday,
    which is every way that is read."""
    frame_length: Annotated[int, Range(32, 2**16)] = 256
    """Length of the longest frame in tokens, in training and for the saved model."""
    max_tokens: Annotated[int | None, Range(1, 2**40)] = None
    """Most tokens of a solution, in training and for the saved model. By default twice those of the expert's largest
    one. A long search that may be given up earlier needs no such room."""
    call_stack: bool = True
    """Whether subtasks get frames of their own. Without it the model reasons in one frame, which must be long."""
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(dropout=0.0))
    """The network. Dropout is off: every demonstration is new, so there is nothing to overfit."""

    def validate(self) -> None:
        """Checks all values.

        Raises:
            ConfigurationError: If a value makes no sense, or two values contradict each other.
        """
        check_ranges(self)
        find_device(self.device)
        if self.track is not None:
            check_installed(self.track)
        contradictions = (
            (
                self.name and not _NAME.fullmatch(self.name),
                f"name={self.name[:40]!r}; expected letters, digits, '_', '-' and '.', at most 100",
            ),
            (
                self.ppo.advantage != "critic" and self.ppo.group_size < 2,
                f"ppo.group_size=1 with ppo.advantage={self.ppo.advantage}; expected at least 2",
            ),
            (
                self.ppo.n_envs * self.ppo.n_steps < 2,
                "ppo.n_envs=1 with ppo.n_steps=1; expected at least 2 actions in an iteration",
            ),
        )
        for is_wrong, message in contradictions:
            if is_wrong:
                raise ConfigurationError(message)
        self._check_room()

    def _check_room(self) -> None:
        """Checks that a frame has room for every problem, and for the expert's solution of what is demonstrated."""
        # Two numbers and the words around them.
        largest_size = (self.frame_length - _MAX_WORDS) // 2
        for name in _SIZES:
            size = attrgetter(name)(self)
            if size > largest_size:
                raise ConfigurationError(
                    f"{name}={size} with frame_length={self.frame_length}; expected at most {largest_size}"
                )

        # Larger problems of a family have longer frames, so the largest one stands for all.
        demonstrated = _largest_levels(self.sum_digits, self.product_digits)
        demonstrated += [read_level(name) for name in self.extra_levels]
        plans = read_plans(self.plans).values()
        demonstrated += [plan.extremes[0] for plan in plans]
        for level in demonstrated:
            check_demonstrable(level, self.frame_length, self.call_stack)

        # Beyond what is demonstrated, PPO must at least be able to solve it, without mistakes that are revised.
        if self.iterations:
            practised = _largest_levels(self.curriculum.sum_digits, self.curriculum.product_digits)
            practised += [plan.extremes[-1] for plan in plans]
            for level in practised:
                check_demonstrable(level, self.frame_length, self.call_stack, mistake_rate=0)

    def small(self) -> TrainConfig:
        """Returns the same run, but small, for ``--smoke``. What is smaller already stays as it is."""
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


def _largest_levels(sum_digits: int, product_digits: int) -> list[Level]:
    """Returns the largest level of each of the four operations."""
    levels = [Level(family, sum_digits) for family in SUMS]
    return levels + [Level(family, product_digits) for family in PRODUCTS]
