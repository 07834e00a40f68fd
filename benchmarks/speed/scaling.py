"""Tokens per second of several processes against one, each with one thread.

Counts of processes take their turn, several times over; a ratio is that of neighbours. Run from the root of the
repository: ``python -m benchmarks.speed.scaling --json scaling.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.logger import Logger

from benchmarks.speed.measuring import positive, spread
from o1nano.agents.evaluation.reports import write_report
from o1nano.agents.learning.distributed import ProcessGroup, SharedCurriculum, end
from o1nano.agents.learning.imitation import WarmStart, WarmStartConfig
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_model
from o1nano.agents.run.cli import guarded
from o1nano.agents.run.config import PPOConfig, TrainConfig
from o1nano.agents.run.hardware import versions
from o1nano.envs.core.config import EnvConfig
from o1nano.policies.device import has_bf16


def work(growing: bool, steps: int, iterations: int) -> dict[str, float]:
    """One process: a short warm start and some iterations of PPO; returns tokens per second of all processes."""
    th.set_num_threads(1)
    process_group = ProcessGroup.join()
    factor = process_group.size if growing else 1
    config = TrainConfig(
        bf16=has_bf16("cpu"),
        device="cpu",
        threads=1,
        warm_start=WarmStartConfig(batch_tokens=WarmStartConfig.batch_tokens * factor),
        ppo=PPOConfig(n_envs=PPOConfig.n_envs * factor, batch_size=PPOConfig.batch_size * factor),
    )
    env_config = EnvConfig(digits=(1, config.sum_digits), frame_length=config.frame_length, max_tokens=2048)
    levels = SharedCurriculum(build_curriculum(config), process_group)
    model = build_model(config, env_config, levels, process_group)
    trainer = WarmStart(model.policy.network, config.warm_start, bool(config.bf16), process_group.rank, process_group)
    batches = iter(build_demonstrations(config, process_group))
    for _ in range(5):
        trainer.step(next(batches))
    before, start = trainer.tokens, time.perf_counter()
    for _ in range(steps):
        trainer.step(next(batches))
    found = {"warm start": (trainer.tokens - before) / (time.perf_counter() - start)}
    model.set_reference()
    model.set_logger(Logger(None, []))
    # Nothing to learn, but the environments are reset and the curriculum knows its model.
    model.learn(0, levels)
    for iteration in range(iterations + 1):
        if iteration == 1:  # the first one warms up
            start = time.perf_counter()
        model.collect_rollouts(model.env, levels, model.rollout_buffer, model.n_steps)
        model.train()
    tokens = iterations * config.ppo.n_envs * config.ppo.n_steps
    found["PPO"] = tokens / (time.perf_counter() - start)
    process_group.leave()
    return found


def launch(processes: int, arguments: list[str]) -> dict[str, float]:
    """Runs this number of processes; returns what the first one has found."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    torchrun += ["--module", "benchmarks.speed.scaling", "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prints tokens per second and ratios, and writes them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--processes", type=positive, nargs="+", default=[1, 2], help="the first is what others are held to"
    )
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=60, help="of the warm start")
    parser.add_argument("--iterations", type=positive, default=4, help="of PPO")
    parser.add_argument("--fixed", action="store_true", help="share 96 environments instead of 96 for each process")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        found = work(not options.fixed, options.steps, options.iterations)
        if int(os.environ.get("RANK", 0)) == 0:
            print(json.dumps(found))
        end(0)
    arguments = ["--steps", str(options.steps), "--iterations", str(options.iterations)]
    rounds: list[dict[int, dict[str, float]]] = []
    for _ in range(options.repeats):
        rounds.append({n: launch(n, arguments + ["--fixed"] * options.fixed) for n in options.processes})
    results: dict[str, Any] = {"machine": versions(), "rounds": rounds}
    base = options.processes[0]
    for phase in ("warm start", "PPO"):
        for n in options.processes:
            rate = spread([each[n][phase] for each in rounds])
            factor = spread([each[n][phase] / each[base][phase] for each in rounds])
            results[f"{phase}, {n}"] = {"tokens/s": rate, "factor": factor}
            print(f"{phase}, {n} processes: {rate['median']:,.0f} tokens/s, {factor['median']:.2f} times {base}")
    write_report(options.json, results)


if __name__ == "__main__":
    sys.exit(guarded("scaling.py", main))
