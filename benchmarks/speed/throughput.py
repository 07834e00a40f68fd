"""Tokens per second: packed against rows, cached against re-encoding, ours against others, and how near the limit.

Everything is measured in one run, in rounds in which all candidates take their turn; ratios are medians over rounds,
with the least and the most. Run from the root of the repository:
``python -m benchmarks.speed.throughput --json throughput.json``.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.logger import Logger

from benchmarks.speed.digits import collecting, mixed_thoughts, thoughts
from benchmarks.speed.measuring import Stopwatch, alternate, clock, positive, spread, versus
from benchmarks.speed.rivals import Reencoding, fill_rows, grpo_rates, stock_ppo
from benchmarks.speed.roofline import products
from o1nano.agents.evaluation.reports import write_report
from o1nano.agents.learning.distributed import ProcessGroup, SharedCurriculum
from o1nano.agents.learning.imitation import WarmStart
from o1nano.agents.learning.ppo import FramePPO
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.agents.run.build import build_curriculum, build_demonstrations, build_model
from o1nano.agents.run.cli import guarded
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.hardware import versions
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.device import has_bf16

CONFIG = TrainConfig()


class Benchmark:
    """What all parts share.

    Args:
        repeats: Measured rounds.
        bf16: Whether networks compute in bfloat16.
    """

    def __init__(self, repeats: int, bf16: bool) -> None:
        self.repeats, self.bf16 = repeats, bf16
        self.policy_kwargs = {"transformer": CONFIG.transformer, "bf16": bf16}

    def env(self, num_envs: int, length: int) -> GymnasiumVecEnv:
        """Environments whose frames have at most this number of tokens."""
        config = {"digits": 1, "frame_length": length, "max_tokens": 2048, "obs_dtype": "uint8"}
        return GymnasiumVecEnv(ArithmeticVectorEnv(num_envs, autoreset_mode="SameStep", **config))

    def ours(self, num_envs: int, length: int, policy: type[ReasoningPolicy] = ReasoningPolicy) -> FramePPO:
        """Our PPO on such environments, one minibatch a rollout, as in the reference run."""
        model = FramePPO(
            policy,
            self.env(num_envs, length),
            n_steps=length,
            batch_size=10**9,
            n_epochs=1,
            gamma=1.0,
            seed=0,
            device="cpu",
            policy_kwargs=self.policy_kwargs,
        )
        model.set_logger(Logger(None, []))
        return model

    def update(self) -> dict[str, Any]:
        """Packed frames against stock rows: 32 frames of T tokens each, one update."""
        found = {}
        for length in (32, 64, 128):
            ours, stock = self.ours(32, length), stock_ppo(self.env(32, length), self.policy_kwargs, length - 4, 256)
            stock.policy.load_state_dict(ours.policy.state_dict())
            ours.rollout_buffer.frames = thoughts(32, length)
            ours.rollout_buffer.compute_returns_and_advantage(th.zeros(1), np.zeros(1))
            fill_rows(stock, ours.rollout_buffer.frames)
            found[f"T={length}"] = versus({"packed": ours.train, "rows": stock.train}, self.repeats)
        return found

    def rollout(self) -> dict[str, Any]:
        """The cache against re-encoding: rollouts of 64 steps whose frames grow to 64 tokens."""
        found = {}
        for num_envs in (1, 16, 64, 256):
            models = [self.ours(num_envs, 64, policy) for policy in (ReasoningPolicy, Reencoding)]
            jobs = {name: collecting(model) for name, model in zip(("cached", "re-encoding"), models, strict=True)}
            timed = versus(jobs, self.repeats)
            timed["tokens/s"] = 64 * num_envs / timed["seconds"]["cached"]["median"]
            found[f"{num_envs} environments"] = timed
        return found

    def iteration(self) -> dict[str, Any]:
        """Rollout and update, 64 environments and 64 steps: ours, and stock PPO with the same policy class."""
        ours, stock = self.ours(64, 64), stock_ppo(self.env(64, 64), self.policy_kwargs, 64, 256)
        stock.policy.load_state_dict(ours.policy.state_dict())
        jobs = {}
        for name, model in (("ours", ours), ("stock", stock)):
            collect = collecting(model)
            jobs[name] = lambda collect=collect, model=model: (collect(), model.train())
        timed = versus(jobs, self.repeats)
        timed["tokens/s"] = {name: 64 * 64 / value["median"] for name, value in timed["seconds"].items()}
        return timed

    def grpo(self) -> dict[str, Any]:
        """Useful completion tokens a second of TRL's GRPO with a Llama of the same size; ours is in ``iteration``."""
        try:
            return {"tokens/s": spread(grpo_rates(CONFIG.transformer, 64, 64, self.repeats))}
        except ImportError as error:
            print(f"  skipped: {error}; pip install trl adds it")
            return {"skipped": str(error)}

    def roofline(self) -> dict[str, Any]:
        """Our share of the rate at which the network's own matrix products run alone, at the same shapes.

        That of decoding is in ``decode.py``.
        """
        return {"update": self._update(), "warm_start": self._warm_start()}

    def _update(self) -> dict[str, Any]:
        model = self.ours(64, 96)
        frames = model.rollout_buffer.frames = sorted(mixed_thoughts(9216), key=lambda frame: len(frame.tokens))
        model.rollout_buffer.compute_returns_and_advantage(th.zeros(1), np.zeros(1))
        tokens = sum(len(frame.tokens) - 1 for frame in frames)
        groups = unpadded([len(frame.tokens) - 1 for frame in frames])
        actions = sum(len(frame.positions) for frame in frames)
        work = products(CONFIG.transformer, groups, actions, self.bf16, True)
        model.advantage = "leave_one_out"  # without the critic's phase; the advantages stay as they are
        return self._share(model.train, work, 1, tokens)

    def _warm_start(self) -> dict[str, Any]:
        model = self.ours(1, 96)
        trainer = WarmStart(model.policy.network, CONFIG.warm_start, self.bf16)
        stream = iter(build_demonstrations(CONFIG, ProcessGroup()))
        batch = next(stream)
        lengths = [len(frame.tokens) - 1 for frame in batch]
        groups = unpadded(lengths)
        actions = sum(len(frame.positions) for frame in batch)
        work = products(CONFIG.transformer, groups, actions, self.bf16, True)
        found = self._share(lambda: trainer.step(batch), work, 4, sum(lengths))
        start, pool = clock(), [len(frame.tokens) for _ in range(32) for frame in next(stream)]
        found["demonstrations, tokens/s"] = sum(pool) / (clock() - start)
        return found

    def _share(self, job: Callable[[], Any], work: Callable[[], Any], times: int, tokens: int) -> dict[str, Any]:
        timed = alternate({"ours": repeated(job, times), "products": repeated(work, times)}, self.repeats)
        shares = [own / all_ for all_, own in zip(timed["ours"], timed["products"], strict=True)]
        return {"share": spread(shares), "tokens/s": spread([times * tokens / value for value in timed["ours"]])}

    def phases(self) -> dict[str, Any]:
        """Seconds of each phase of an iteration of the reference run, after a short warm start."""
        watch, process_group = Stopwatch(), ProcessGroup()
        env_config = EnvConfig(digits=(1, CONFIG.sum_digits), frame_length=CONFIG.frame_length, max_tokens=2048)
        config = TrainConfig(threads=th.get_num_threads(), bf16=self.bf16, device="cpu")
        curriculum = build_curriculum(config)
        model = build_model(config, env_config, SharedCurriculum(curriculum, process_group), process_group)
        trainer = WarmStart(model.policy.network, config.warm_start, self.bf16)
        batches = iter(build_demonstrations(config, process_group))
        for _ in range(100):
            trainer.step(next(batches))
        model.set_reference()
        model.set_logger(Logger(None, []))
        collect = collecting(model, like=False)
        collect()  # warms up
        model.train()
        policy, buffer = model.policy, model.rollout_buffer
        for name, owner, method in (
            ("environment", model.env, "step"),
            ("decode", policy, "forward"),
            ("buffer", buffer, "add"),
            ("buffer", buffer, "compute_returns_and_advantage"),
            ("packing", buffer, "samples"),
            ("update", model, "train"),
            ("critic", model, "_fit_critic"),
        ):
            watch.time(name, owner, method)
        for _ in range(self.repeats):
            with watch.running("rest of the rollout"):
                collect()
            model.train()
        total, tokens = sum(watch.seconds.values()), self.repeats * config.ppo.n_envs * config.ppo.n_steps
        return {
            "share": {name: value / total for name, value in watch.seconds.items()},
            "milliseconds an iteration": {k: 1000 * v / self.repeats for k, v in watch.seconds.items()},
            "tokens/s": tokens / total,
            "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def unpadded(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Frames of one length attend together: how many, of how many tokens, to how many."""
    return [(count, length, length) for length, count in Counter(lengths).items()]


def repeated(job: Callable[[], Any], times: int) -> Callable[[], None]:
    """Returns a job that does another one several times."""

    def run() -> None:
        for _ in range(times):
            job()

    return run


def show(found: Any, indent: int = 2) -> None:
    """Prints nested figures, one a line."""
    for name, value in found.items():
        if isinstance(value, dict) and set(value) != {"median", "least", "most"}:
            print(f"{'':{indent}}{name}")
            show(value, indent + 2)
        elif isinstance(value, dict):
            print(f"{'':{indent}}{name}: {value['median']:,.4g} ({value['least']:,.4g} to {value['most']:,.4g})")
        else:
            print(f"{'':{indent}}{name}: {value:,.4g}" if isinstance(value, float) else f"{'':{indent}}{name}: {value}")


def main() -> None:
    """Prints what is measured as it comes, and writes it as JSON if asked."""
    parts = ("phases", "roofline", "update", "rollout", "iteration", "grpo")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=positive, default=5, help="measured rounds, after one that warms up")
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch")
    parser.add_argument("--float32", action="store_true", help="no bfloat16, whatever the processor has")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="what to measure")
    parser.add_argument("--json", type=Path, help="where to write it")
    options = parser.parse_args()
    th.set_num_threads(options.threads)
    benchmark = Benchmark(options.repeats, has_bf16("cpu") and not options.float32)
    results: dict[str, Any] = {"machine": versions(), "bf16": benchmark.bf16, "repeats": options.repeats}
    for part in options.only:
        print(part, flush=True)
        results[part] = getattr(benchmark, part)()
        show(results[part])
        write_report(options.json, results)


if __name__ == "__main__":
    sys.exit(guarded("throughput.py", main))
