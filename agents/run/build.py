"""Builds the parts of a run from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from gymnasium.vector import AutoresetMode

from o1nano.agents.evaluation.held_out import standard_levels
from o1nano.agents.learning.demonstrations import DemonstrationStream
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import GymnasiumVecEnv, TimedVecMonitor
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.plans import read_plans
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.curriculum import AdaptiveCurriculum, Curriculum, LevelSampler, UniformCurriculum, WeightedLevels
from o1nano.envs.problems import FOUR_OPERATIONS, PRODUCTS, SUMS
from o1nano.envs.problems.expert import expert_requirements
from o1nano.envs.problems.problem import Level, Problem, draw, read_level
from o1nano.envs.seeding import stream
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy


def build_curriculum(config: TrainConfig) -> Curriculum:
    """Returns the curriculum. It begins with the demonstrated sizes, or with all sizes if it is uniform.

    The four operations grow, and the families that have a plan. Levels with a second number (``expression/1x3``) are
    not part of it.
    """
    given = config.curriculum
    plans = read_plans(config.plans)

    # Sizes that are open at the start.
    first = dict.fromkeys(SUMS, config.sum_digits) | dict.fromkeys(PRODUCTS, config.product_digits)
    for level in _extra_levels(config):
        if level.extra is None:
            first[level.family] = max(level.size, first.get(level.family, 1))

    # Sizes that may be opened, at least those that are open already.
    limits = dict.fromkeys(SUMS, given.sum_digits) | dict.fromkeys(PRODUCTS, given.product_digits)
    last = {}
    for family, size in first.items():
        last[family] = max(size, limits.get(family, 1))

    # A plan says all about its family, whatever the other flags say.
    priority = dict.fromkeys(SUMS, given.sum_weight)
    for plan in plans.values():
        first[plan.family] = plan.demonstrated
        last[plan.family] = plan.largest
        priority[plan.family] = plan.practice

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
    return list(demonstration_weights(config))


def demonstration_weights(config: TrainConfig) -> dict[Level, float]:
    """Returns how often the warm start draws each level, as a weight.

    Args:
        config: The run's.
    """
    plans = read_plans(config.plans)
    weights: dict[Level, float] = {}
    for level in standard_levels(config.sum_digits, config.product_digits):
        if level.family not in plans:
            weights[level] = 1.0

    # A level that is named twice is drawn twice as often.
    for level in _extra_levels(config):
        weights[level] = weights.get(level, 0.0) + 1.0
    for plan in plans.values():
        for level in plan.demonstrations:
            weights[level] = weights.get(level, 0.0) + plan.share
    return weights


def evaluated(config: TrainConfig) -> list[Level]:
    """Returns the levels that are measured on held-out problems, each once."""
    given = config.evaluation
    levels = standard_levels(given.sum_digits, given.product_digits) + _extra_levels(config)
    for plan in read_plans(config.plans).values():
        levels += plan.extremes
    return list(dict.fromkeys(levels))


def _extra_levels(config: TrainConfig) -> list[Level]:
    return [read_level(name) for name in config.extra_levels]


def build_check_problems(config: TrainConfig, each: int = 16) -> list[Problem]:
    """Returns the problems that decide when the warm start stops.

    They belong to the training split, so that the test split stays unseen, and are the same in every process.

    Args:
        config: The run's.
        each: Problems of each demonstrated level.
    """
    # A stream for each problem: none depends on how many others there are.
    problems = []
    for level in demonstrated(config):
        for index in range(each):
            rng = stream("check", level, config.seed, index)
            problems.append(draw(level, rng, phrasing=config.phrasing))
    return problems


def build_env_config(config: TrainConfig) -> EnvConfig:
    """Returns limits and grammar of the environment. Its problems are the curriculum's.

    A solution may have twice the tokens, if there is no flag, and twice the depth of the expert's largest one, over all
    levels that are demonstrated, practised or measured.
    """
    # Twice what the expert needs leaves room for detours; without a limit a beginner would never come to an end.
    practised = [Level(family, size) for family, size in build_curriculum(config).last.items()]
    tokens = []
    depths = []
    for level in dict.fromkeys([*demonstrated(config), *practised, *evaluated(config)]):
        needed = expert_requirements(level, config.frame_length, config.call_stack)
        tokens.append(needed.tokens)
        depths.append(needed.depth)

    families = [*FOUR_OPERATIONS, *(level.family for level in _extra_levels(config)), *read_plans(config.plans)]
    return EnvConfig(
        operations=tuple(dict.fromkeys(families)),
        digits=(1, config.sum_digits),
        phrasing=config.phrasing,
        call_stack=config.call_stack,
        frame_length=config.frame_length,
        depth=max(32, 2 * max(depths)),
        max_tokens=config.max_tokens or max(2048, 2 * max(tokens)),
    )


def build_demonstrations(config: TrainConfig, process_group: ProcessGroup) -> DemonstrationStream:
    """Returns this process's share of the expert's frames that the warm start imitates.

    Args:
        config: The run's.
        process_group: The processes that train together. Each draws its own problems.
    """
    given = config.warm_start
    return DemonstrationStream(
        WeightedLevels(demonstration_weights(config)),
        stream("demonstrations", process_group.seed(config.seed)),
        max(1, given.batch_tokens // process_group.size),
        given.mistake_rate,
        given.corruption_rate,
        call_stack=config.call_stack,
        phrasing=config.phrasing,
    )


def build_model(
    config: TrainConfig, env_config: EnvConfig, level_sampler: LevelSampler, process_group: ProcessGroup
) -> FramePPO:
    """Returns PPO with its policy and this process's share of the environments.

    Args:
        config: The run's.
        env_config: Limits and grammar of the environments.
        level_sampler: Draws the levels of their problems.
        process_group: The processes that train together.
    """
    # SAME_STEP: Stable-Baselines3 expects the first observation of the next episode together with the last reward.
    settings = asdict(config.ppo)
    n_envs = settings.pop("n_envs")
    env = ArithmeticVectorEnv(
        process_group.divide("ppo.n_envs", n_envs),
        autoreset_mode=AutoresetMode.SAME_STEP,
        obs_dtype="uint8",
        group_size=settings.pop("group_size"),
        **vars(env_config),
    )
    env.episodes.level_sampler = level_sampler

    # Everything that is left in the settings is an argument of FramePPO, under the same name.
    settings["learning_rate"] = warm_up_and_decay(config.ppo.learning_rate, config.iterations)
    return FramePPO(
        ReasoningPolicy,
        TimedVecMonitor(GymnasiumVecEnv(env)),
        **settings,
        gamma=1.0,  # a long solution is worth as much as a short one
        policy_kwargs={
            "transformer": config.transformer,
            "bf16": config.bf16,
            "optimizer_kwargs": {"betas": (0.9, 0.99), "eps": 1e-5, "weight_decay": 0.0},
        },
        seed=process_group.seed(config.seed),
        process_group=process_group,
        device=config.device,
    )


def warm_up_and_decay(peak: float, iterations: int, warm_up: float = 0.02) -> Callable[[float], float]:
    """Returns a learning rate schedule: linearly up to the peak, then linearly down.

    Args:
        peak: Largest learning rate.
        iterations: Number of updates.
        warm_up: Share of the run in which the rate rises.

    Returns:
        A function of the remaining progress, from 1 at the beginning to 0 at the end, as Stable-Baselines3 has it.
    """
    # Stable-Baselines3 asks for the rate of an iteration after its rollout, so 0 remains at the last update. Shifted
    # by one iteration, the rate is 0 only after it.
    shift = 1 / max(1, iterations)

    def rate(remaining: float) -> float:
        rising = (1 - remaining) / warm_up
        falling = remaining + shift
        return peak * min(1.0, rising) * min(1.0, falling)

    return rate
