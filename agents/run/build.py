"""The parts of a run as its configuration asks for them."""

from __future__ import annotations

from collections.abc import Callable

from gymnasium.vector import AutoresetMode

from o1nano.agents.evaluation.held_out import standard_levels
from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import GymnasiumVecEnv, TimedVecMonitor
from o1nano.agents.run.config import TrainConfig
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import AdaptiveCurriculum, Curriculum, LevelSampler, UniformCurriculum, UniformLevels
from o1nano.envs.problems import FOUR_OPERATIONS, PRODUCTS, SUMS
from o1nano.envs.problems.expert import expert_requirements
from o1nano.envs.problems.problem import Level, Problem, draw, read_level
from o1nano.envs.seeding import stream
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy


def build_curriculum(config: TrainConfig) -> Curriculum:
    """Returns the curriculum: it begins with the demonstrated sizes, or with all of them.

    It grows in the four operations only. Levels of a shape of their own (``expression/1x3``) have no place in it.
    """
    given = config.curriculum
    first = dict.fromkeys(SUMS, config.sum_digits) | dict.fromkeys(PRODUCTS, config.product_digits)
    for level in map(read_level, config.extra_levels):
        if level.extra is None:
            first[level.family] = max(level.size, first.get(level.family, 1))
    largest = dict.fromkeys(SUMS, given.sum_digits) | dict.fromkeys(PRODUCTS, given.product_digits)
    last = {family: max(size, largest.get(family, 1)) for family, size in first.items()}
    priority = dict.fromkeys(SUMS, given.sum_weight)
    if given.strategy == "uniform":
        return UniformCurriculum(last, given.window, priority)
    return AdaptiveCurriculum(
        first=first,
        last=last,
        promote=given.promote,
        demote=given.demote,
        window=given.window,
        floor=given.floor,
        priority=priority,
    )


def demonstrated(config: TrainConfig) -> list[Level]:
    """Returns the levels that the warm start imitates."""
    return standard_levels(config.sum_digits, config.product_digits) + [
        read_level(name) for name in config.extra_levels
    ]


def evaluated(config: TrainConfig) -> list[Level]:
    """Returns the levels that are measured on held-out problems."""
    given = config.evaluation
    extra = [read_level(name) for name in config.extra_levels]
    return list(dict.fromkeys(standard_levels(given.sum_digits, given.product_digits) + extra))


def build_check_problems(config: TrainConfig, each: int = 16) -> list[Problem]:
    """Returns the problems that decide when the warm start stops.

    They are of the training split, so that the test split stays unseen, and the same in every process.

    Args:
        config: The run's.
        each: Problems of each demonstrated level.
    """
    return [
        draw(level, stream("check", level, config.seed, index))
        for level in demonstrated(config)
        for index in range(each)
    ]


def build_env_config(config: TrainConfig) -> EnvConfig:
    """Returns limits and grammar of the environment; its problems are the curriculum's.

    A solution may have twice the tokens of the expert's longest one of what is demonstrated, practised or measured, and
    twice its depth.
    """
    largest = [Level(family, size) for family, size in build_curriculum(config).last.items()]
    posed = dict.fromkeys([*demonstrated(config), *largest, *evaluated(config)])
    needed = [expert_requirements(level, config.frame_length, config.call_stack) for level in posed]
    return EnvConfig(
        operations=tuple(dict.fromkeys((*FOUR_OPERATIONS, *(read_level(name).family for name in config.extra_levels)))),
        digits=(1, config.sum_digits),
        call_stack=config.call_stack,
        frame_length=config.frame_length,
        depth=max(32, 2 * max(need.depth for need in needed)),
        max_tokens=max(2048, 2 * max(need.tokens for need in needed)),
    )


def build_demonstrations(config: TrainConfig, process_group: ProcessGroup) -> DemonstrationStream:
    """Returns the process's share of the expert's frames that the warm start imitates."""
    given = config.warm_start
    return DemonstrationStream(
        UniformLevels(demonstrated(config)),
        stream("demonstrations", process_group.seed(config.seed)),
        max(1, given.batch_tokens // process_group.size),
        given.mistake_rate,
        given.corruption_rate,
        call_stack=config.call_stack,
    )


def build_model(
    config: TrainConfig, env_config: EnvConfig, source: LevelSampler, process_group: ProcessGroup
) -> FramePPO:
    """Returns PPO with its policy and the process's share of the environments."""
    ppo, own = config.ppo, process_group.divide("ppo.n_envs", config.ppo.n_envs)
    env = ArithmeticVectorEnv(
        own,
        autoreset_mode=AutoresetMode.SAME_STEP,
        obs_dtype="uint8",
        group_size=ppo.group_size,
        **vars(env_config),
    )
    env.episodes.level_sampler = source
    return FramePPO(
        ReasoningPolicy,
        TimedVecMonitor(GymnasiumVecEnv(env)),
        credit=ppo.credit,
        advantage=ppo.advantage,
        learning_rate=warm_up_and_decay(ppo.learning_rate, config.iterations),
        n_steps=ppo.n_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.n_epochs,
        gamma=1.0,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        kl_coef=ppo.kl_coef,
        critic_epochs=ppo.critic_epochs,
        critic_learning_rate=ppo.critic_learning_rate,
        max_grad_norm=ppo.max_grad_norm,
        target_kl=ppo.target_kl,
        policy_kwargs={
            "transformer": config.transformer,
            "bf16": config.bf16,
            "optimizer_kwargs": {"betas": (0.9, 0.99), "eps": 1e-5, "weight_decay": 0.0},
        },
        seed=process_group.seed(config.seed),
        process_group=process_group,
        device=config.device,
    )


def warm_up_and_decay(peak: float, iterations: int, share: float = 0.02) -> Callable[[float], float]:
    """Returns a schedule of the remaining progress: up to the peak over the first share of a run, then down.

    Stable-Baselines3 asks for the rate of an iteration after its rollout, when nothing remains of the last one. So the
    last update has the rate of one iteration before the end, not 0.
    """
    return lambda remaining: peak * min(1.0, (1 - remaining) / share) * min(1.0, remaining + 1 / max(1, iterations))
