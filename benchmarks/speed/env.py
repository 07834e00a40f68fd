"""Steps per second of the environment: native vector, through the Stable-Baselines3 adapter, Sync, Async and Dummy.

Seconds are those of the processor, so that what else runs on the machine counts little; ``Async`` works in processes of
its own and is timed by the wall clock. The actions are the expert's, recorded beforehand with the same seeds, so that
episodes run to their end and nothing but the environment is timed. Run from the root of the repository: ``python
benchmarks/speed/env.py``.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.speed.measuring import positive
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.agents.run.cli import guarded
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.problems.problem import Level, Problem
from o1nano.envs.vector import ArithmeticVectorEnv

ID = "o1nano/Arithmetic-v0"
SIZES = (1, 64, 1024)


def record(num_envs: int, steps: int, mode: str, dtype: str = "uint8") -> npt.NDArray[np.int64]:
    """Returns ``[steps, num_envs]`` expert actions of environments seeded with 0, 1, ..."""
    env = ArithmeticVectorEnv(num_envs, autoreset_mode=mode, obs_dtype=dtype)
    expert = ExpertPolicy(env)
    observations, _ = env.reset(seed=0)
    tape = np.zeros((steps, num_envs), dtype=np.int64)
    for row in tape:
        row[:] = expert.predict(observations)
        observations = env.step(row)[0]
    return tape


def rate(
    step: Callable[[Any], Any],
    reset: Callable[[], Any],
    tape: npt.NDArray[np.int64],
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Returns environment steps per second of one replay of the tape."""
    reset()
    start = clock()
    for actions in tape:
        step(actions)
    return tape.size / (clock() - start)


def native(num_envs: int, dtype: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """The native vector environment."""
    env = ArithmeticVectorEnv(num_envs, autoreset_mode="SameStep", obs_dtype=dtype)
    return env.step, lambda: env.reset(seed=0)


def adapter(num_envs: int, dtype: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """The same through the adapter to Stable-Baselines3."""
    env = GymnasiumVecEnv(ArithmeticVectorEnv(num_envs, autoreset_mode="SameStep", obs_dtype=dtype))

    def reset() -> None:
        env.seed(0)
        env.reset()

    return env.step, reset


def gymnasium_vector(kind: str, num_envs: int, dtype: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Gymnasium's own vectors of single environments."""
    kwargs = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    env = gym.make_vec(ID, num_envs, vectorization_mode=kind, vector_kwargs=kwargs, obs_dtype=dtype)
    return env.step, lambda: env.reset(seed=0)


def dummy(num_envs: int, dtype: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Stable-Baselines3's vector of single environments."""
    env = DummyVecEnv([lambda: gym.make(ID, obs_dtype=dtype) for _ in range(num_envs)])

    def reset() -> None:
        env.seed(0)
        env.reset()

    return env.step, reset


def main() -> None:
    """Prints one table; every figure of it is from this run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=positive, default=5, help="replays of each; the table has median and range")
    parser.add_argument("--dtype", default="uint8", help="obs_dtype of every environment")
    parser.add_argument("--profile", action="store_true", help="where the native vector's time goes at 1,024")
    parser.add_argument(
        "--parts", action="store_true", help="what a step costs without drawing problems, and the rules"
    )
    arguments = parser.parse_args()
    dtype = arguments.dtype
    if arguments.profile:
        return profile(dtype)
    if arguments.parts:
        return parts(dtype, arguments.repeats)
    kinds: dict[str, Callable[[int], tuple[Callable[[Any], Any], Callable[[], Any]]]] = {
        "native": lambda n: native(n, dtype),
        "SB3 adapter": lambda n: adapter(n, dtype),
        "Sync": lambda n: gymnasium_vector("sync", n, dtype),
        "Async": lambda n: gymnasium_vector("async", n, dtype),
        "SB3 Dummy": lambda n: dummy(n, dtype),
    }
    print(f"{'steps/s, median (range)':24}" + "".join(f"{f'{size:,} environments':>34}" for size in SIZES))
    tapes = {size: record(size, max(200, 4000 // size), "SameStep") for size in SIZES}
    for name, build in kinds.items():
        cells = []
        for size in SIZES:
            if name == "Async" and size > 64:
                cells.append(f"{'(a process each)':>34}")
                continue
            step, reset = build(size)
            tape = tapes[size] if name in ("native", "SB3 adapter") else tapes[size][: max(20, 20_000 // size)]
            clock = time.perf_counter if name == "Async" else time.process_time
            rates = [rate(step, reset, tape, clock) for _ in range(arguments.repeats)]
            cells.append(f"{statistics.median(rates):14,.0f} ({min(rates):,.0f}-{max(rates):,.0f})".rjust(34))
        print(f"{name:24}" + "".join(cells), flush=True)


def parts(dtype: str, repeats: int, num_envs: int = 1024) -> None:
    """Prints CPU time a step, in turn: whole, with problems that were drawn beforehand, and of the rules alone."""
    tape = record(num_envs, 300, "SameStep")
    env = ArithmeticVectorEnv(num_envs, autoreset_mode="SameStep", obs_dtype=dtype)
    episodes = env.episodes
    stacks, draw = episodes.stacks, episodes.draw_problem
    drawn: list[Problem] = []

    def keep(level: Level, rng: np.random.Generator) -> Problem:
        drawn.append(draw(level, rng))
        return drawn[-1]

    def whole(actions: npt.NDArray[np.int64]) -> float:
        start = time.process_time()
        env.step(actions)
        return time.process_time() - start

    def rules(actions: npt.NDArray[np.int64]) -> float:
        start = time.process_time()
        ended = stacks.step(actions).nonzero()[0]
        stacks.observe()
        spent = time.process_time() - start
        if len(ended):
            episodes.start(ended, [env.generators[0]] * len(ended))
        return spent

    def play(
        step: Callable[[npt.NDArray[np.int64]], float], source: Callable[[Level, np.random.Generator], Problem]
    ) -> float:
        episodes.draw_problem = source  # type: ignore[method-assign]
        env.reset(seed=0)
        return 1e6 * sum(map(step, tape)) / len(tape)

    play(whole, keep)
    kinds = {
        "whole": (whole, False),
        "problems drawn beforehand": (whole, True),
        "rules and observation": (rules, True),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, (step, prepared) in kinds.items():
            problems = iter(drawn)
            found[name].append(play(step, (lambda *_, left=problems: next(left)) if prepared else draw))
    for name, spent in found.items():
        median = statistics.median(spent)
        print(f"{name:28}{median:8.0f} microseconds of CPU a step{1e6 * num_envs / median:14,.0f} steps a CPU second")


def profile(dtype: str) -> None:
    """Prints the functions that the native vector spends its time in."""
    tape = record(1024, 400, "SameStep")
    step, reset = native(1024, dtype)
    reset()
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [step(actions) for actions in tape])
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    sys.exit(guarded("env.py", main))
