"""Everything that a run depends on, in one typed place. Every field is a flag of ``train_rl.py``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from o1nano.agents.credit import Credit
from o1nano.agents.warm_start import WarmStartConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.policies.transformer import TransformerConfig


@dataclass(frozen=True)
class PPOConfig:
    """PPO on whole frames (the arguments of Stable-Baselines3's ``PPO``, where they have the same name)."""

    n_envs: int = 96
    """Environments that are rolled out together."""
    n_steps: int = 72
    """Tokens of each environment in an epoch."""
    batch_size: int = 3456
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
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the critic's loss, which does not reach the trunk."""
    max_grad_norm: float = 1.0
    """Largest gradient norm."""
    kl_price: float = 0.01
    """Reward that a token costs for each nat by which it is likelier than after the warm start."""
    credit: Credit = "blame"
    """How a frame is rewarded: see FrameRolloutBuffer."""


@dataclass(frozen=True)
class CurriculumConfig:
    """The adaptive curriculum; it begins with the demonstrated sizes."""

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
    floor: float = 0.1
    """Weight of a level without failures; one without successes has this and 1."""
    sums_priority: float = 2.0
    """Factor of the weights of sums and differences, which cost far fewer tokens than products and quotients."""


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
    epochs: int = 500
    """PPO epochs: one is one rollout and its update."""
    device: str = "auto"
    """cpu, cuda or auto."""
    threads: int = 0
    """CPU threads; 0 takes every core that the process may use."""
    bf16: bool | None = None
    """Whether updates compute in bfloat16; by default where the processor has instructions for it."""
    checkpoint_every: int = 20
    """Steps of the warm start, or epochs of PPO, between checkpoints; every phase ends with one too."""
    smoke: bool = False
    """Everything, but small: ends in under a minute and learns next to nothing."""
    digits: int = 3
    """Largest demonstrated size of sums and differences."""
    product_digits: int = 3
    """Largest demonstrated size of products and quotients."""
    frame_length: int = 96
    """Longest frame in tokens, in training and for the saved model."""
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(dropout=0.0))
    """Dropout is off: every demonstration is fresh, so there is nothing to overfit. Not ablated yet (docs/log.md)."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        for name, value, least in (
            ("epochs", self.epochs, 0),
            ("digits", self.digits, 1),
            ("product_digits", self.product_digits, 1),
            ("threads", self.threads, 0),
            ("ppo.n_envs", self.ppo.n_envs, 1),
            ("ppo.n_steps", self.ppo.n_steps, 1),
            ("warm_start.steps", self.warm_start.steps, 0),
            ("evaluation.problems", self.evaluation.problems, 1),
        ):
            if value < least:
                raise ConfigurationError(f"{name}={value}; accepted: an integer of at least {least}")

    def small(self) -> TrainConfig:
        """The same run, small: what ``--smoke`` does."""
        return replace(
            self,
            epochs=min(self.epochs, 4),
            checkpoint_every=min(self.checkpoint_every, 2),
            warm_start=replace(self.warm_start, steps=60, check_every=30),
            ppo=replace(self.ppo, n_envs=16, n_steps=32, batch_size=256),
            evaluation=replace(self.evaluation, problems=4, sums=2, products=1),
        )
