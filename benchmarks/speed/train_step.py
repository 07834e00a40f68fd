"""Seconds of a step of the warm start and of an update of PPO, next to their matrix products and to another checkout.

Every candidate is timed once in every round; ratios are medians over rounds, with the smallest and the largest. The
other checkout runs in its own process. Run from the root of the repository:
``python -m benchmarks.speed.train_step --against ../other-checkout``. The other checkout may be as old as 69e04a9.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

# A process that measures another checkout finds this folder's modules there (PYTHONPATH comes first).
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.older import use_old_names

if find_spec("o1nano.agents.learning") is None:
    use_old_names()

from benchmarks.speed.digits import mixed_thoughts
from benchmarks.speed.measuring import clock, positive, spread
from benchmarks.speed.roofline import products
from o1nano.agents.learning.distributed import ProcessGroup
from o1nano.agents.learning.imitation import WarmStart
from o1nano.agents.learning.packing import TrainingFrame, pack_training_frames
from o1nano.agents.learning.vec_env import GymnasiumVecEnv
from o1nano.agents.run.build import build_demonstrations
from o1nano.agents.run.config import TrainConfig
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.device import has_bf16

CONFIG = TrainConfig()
STEPS = 8
"""Steps of the warm start that are timed as one."""
ACTIONS = 9216
"""Actions of a PPO update: those of 96 environments in 96 steps."""


class Jobs:
    """The jobs that are timed, with the code of the checkout that is imported.

    Args:
        bf16: Whether networks compute in bfloat16.
    """

    def __init__(self, bf16: bool) -> None:
        self.bf16 = bf16

        # The environment only provides the spaces.
        env = GymnasiumVecEnv(ArithmeticVectorEnv(1, autoreset_mode="SameStep", digits=1, frame_length=96))
        th.manual_seed(0)
        self.policy = ReasoningPolicy(
            env.observation_space, env.action_space, lambda _: 1e-4, transformer=CONFIG.transformer, bf16=bf16
        )

        # Batches of demonstrations, made before the clock starts.
        self.trainer = WarmStart(self.policy.network, CONFIG.warm_start, bf16)
        stream = iter(build_demonstrations(CONFIG, ProcessGroup()))
        self.batches = [next(stream) for _ in range(STEPS)]

        # A rollout of frames with random thoughts.
        self.frames = sorted(mixed_thoughts(ACTIONS), key=lambda frame: len(frame.tokens))
        self.old_log_probs = th.from_numpy(np.concatenate([frame.log_probs for frame in self.frames]))
        self.actions = th.from_numpy(np.concatenate([frame.actions for frame in self.frames])).long()

    def warm_start(self) -> None:
        """Takes some steps of the warm start."""
        for batch in self.batches:
            self.trainer.step(batch)

    def update(self) -> None:
        """Takes one step of PPO on the frames of a rollout: clipped ratios, clipped gradients, AdamW."""
        policy = self.policy
        policy.set_training_mode(True)

        packed = pack_training_frames(self.frames, policy.grammar, "cpu")
        _, log_probs, _ = policy.evaluate_actions(packed, self.actions)
        ratio = (log_probs - self.old_log_probs).exp()
        loss = -th.min(ratio, ratio.clamp(0.8, 1.2)).mean()

        policy.optimizer.zero_grad()
        th.autograd.backward(loss)
        th.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        policy.optimizer.step()

    def warm_start_products(self) -> Callable[[], None]:
        """Returns a job that does the matrix products of ``warm_start`` and nothing else."""
        jobs = [self._products(batch) for batch in self.batches]

        def run() -> None:
            for job in jobs:
                job()

        return run

    def update_products(self) -> Callable[[], None]:
        """Returns a job that does the matrix products of ``update`` and nothing else."""
        return self._products(self.frames)

    def _products(self, frames: list[Any]) -> Callable[[], None]:
        """Returns a job that does the matrix products of a forward and a backward pass."""
        # Frames of the same length attend together, so that nothing is padded.
        lengths = Counter(len(frame.tokens) - 1 for frame in frames)
        groups = [(count, length, length) for length, count in lengths.items()]
        actions = sum(len(frame.positions) for frame in frames)
        return products(CONFIG.transformer, groups, actions, self.bf16, True)


class Other:
    """A process that does the same jobs with another checkout.

    Args:
        path: Root of the checkout.
        bf16: Whether networks compute in bfloat16.
        threads: Number of PyTorch's threads.
    """

    def __init__(self, path: Path, bf16: bool, threads: int) -> None:
        command = [sys.executable, __file__, "--serve", "--threads", str(threads)]
        if not bf16:
            command.append("--float32")
        self.process = subprocess.Popen(
            command,
            cwd=path,
            env={**os.environ, "PYTHONPATH": str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, job: str) -> float:
        """Returns the seconds that a job takes."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(job, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def count_tokens(frames: Sequence[TrainingFrame]) -> int:
    """Returns how many tokens of some frames are inputs: all but the last one of each frame."""
    return sum(len(frame.tokens) - 1 for frame in frames)


def timed(job: Callable[[], None]) -> float:
    """Returns the seconds that a job takes here."""
    start = clock()
    job()
    return clock() - start


def compare(jobs: Jobs, other: Other | None, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Times all jobs in every round.

    Returns:
        For each job, the seconds in each round of this checkout (``"own"``), of its matrix products alone
        (``"products"``), and of the other checkout (``"other"``).
    """
    own = {"warm_start": jobs.warm_start, "update": jobs.update}
    work = {"warm_start": jobs.warm_start_products(), "update": jobs.update_products()}
    seconds: dict[str, dict[str, list[float]]] = {}
    for name in own:
        seconds[name] = {"own": [], "products": [], "other": []}

    for round_number in range(repeats + 1):
        for name, found in seconds.items():
            times = {"own": timed(own[name]), "products": timed(work[name])}
            if other is not None:
                times["other"] = other.time(name)
            if round_number == 0:  # the first round only warms up
                continue
            for key, value in times.items():
                found[key].append(value)
    return seconds


def report(name: str, seconds: dict[str, list[float]], tokens: int) -> None:
    """Prints the figures of one job: medians, with the smallest and the largest."""
    own = np.array(seconds["own"])
    matrix = np.array(seconds["products"])
    other = np.array(seconds["other"])
    # The products of Muon's iteration are not counted, and frames attend without padding.
    figures = {"tokens/s": tokens / own, "share of its matrix products' rate": matrix / own}
    if len(other):
        figures["times as fast as the other checkout"] = other / own
        figures["the other checkout's share"] = matrix / other

    print(name)
    for label, values in figures.items():
        found = spread(values.tolist())
        print(f"  {label}: {found['median']:,.4g} ({found['least']:,.4g} to {found['most']:,.4g})", flush=True)


def main() -> None:
    """Parses the arguments, measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="root of another checkout of this repository")
    parser.add_argument("--repeats", type=positive, default=7, help="measured rounds")
    parser.add_argument("--threads", type=positive, default=1, help="number of PyTorch's threads")
    parser.add_argument("--float32", action="store_true", help="no bfloat16, whatever the processor has")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.against and not options.against.is_dir():
        parser.error(f"--against {options.against}; expected the root of another checkout")

    th.set_num_threads(options.threads)
    bf16 = has_bf16("cpu") and not options.float32
    jobs = Jobs(bf16)

    # The process of another checkout reads the name of a job from each line.
    if options.serve:
        for line in sys.stdin:
            print(timed(getattr(jobs, line.strip())), flush=True)
        return

    other = Other(options.against, bf16, options.threads) if options.against else None
    seconds = compare(jobs, other, options.repeats)
    report("warm start", seconds["warm_start"], sum(count_tokens(batch) for batch in jobs.batches))
    report("update", seconds["update"], count_tokens(jobs.frames))


if __name__ == "__main__":
    main()
