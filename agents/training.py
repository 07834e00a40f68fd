"""The reference run: warm start, PPO under a curriculum, held-out figures before and after."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch as th
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecMonitor
from tqdm import tqdm

import o1nano
from o1nano.agents import checkpoint
from o1nano.agents.callbacks import NOT_TEXT, EpisodeStatistics, ProgressBar, Transcripts
from o1nano.agents.config import TrainConfig
from o1nano.agents.demonstrations import DemonstrationStream
from o1nano.agents.evaluation import Cell, demonstrated_average, held_out, levels, tabulate
from o1nano.agents.ppo import FramePPO
from o1nano.agents.vec_env import GymnasiumVecEnv
from o1nano.agents.warm_start import WarmStart
from o1nano.envs.curriculum import AdaptiveCurriculum
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.levels import UniformLevels
from o1nano.envs.pose import Problem, draw, stream
from o1nano.envs.vector import ArithmeticVectorEnv
from o1nano.envs.wrappers import VectorCurriculumWrapper
from o1nano.policies.actor_critic import ReasoningPolicy
from o1nano.policies.answers import solve

SUMS, PRODUCTS = ("addition", "subtraction"), ("multiplication", "division")


class Run:
    """One training run and its folder.

    Args:
        config: What to do.
        folder: Where everything is written.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.started = time.time()
        self.env_config = EnvConfig(digits=(1, config.digits), frame_length=config.frame_length, max_tokens=2048)
        first = dict.fromkeys(SUMS, config.digits) | dict.fromkeys(PRODUCTS, config.product_digits)
        last = dict.fromkeys(SUMS, config.curriculum.sums) | dict.fromkeys(PRODUCTS, config.curriculum.products)
        self.curriculum = AdaptiveCurriculum(
            first=first,
            last={family: max(first[family], size) for family, size in last.items()},
            promote=config.curriculum.promote,
            demote=config.curriculum.demote,
            window=config.curriculum.window,
            floor=config.curriculum.floor,
            priority=dict.fromkeys(SUMS, config.curriculum.sums_priority),
        )
        self.logger = Logger(str(folder), [TensorBoardOutputFormat(str(folder))])
        self.model = self._build()
        self.network = self.model.policy.network
        self.training: dict[str, Any] = {"config": asdict(config), "versions": versions()}
        write_json(folder / "config.json", self.training)
        self.logger.record("config", _as_table(asdict(config)), exclude=NOT_TEXT)
        self.logger.dump(0)

    def _build(self) -> FramePPO:
        config, ppo = self.config, self.config.ppo
        env = ArithmeticVectorEnv(
            ppo.n_envs, autoreset_mode=AutoresetMode.SAME_STEP, obs_dtype="uint8", **vars(self.env_config)
        )
        model = FramePPO(
            ReasoningPolicy,
            VecMonitor(GymnasiumVecEnv(VectorCurriculumWrapper(env, self.curriculum))),
            credit=ppo.credit,
            depth=self.env_config.depth,
            learning_rate=warm_up_and_decay(ppo.learning_rate),
            n_steps=ppo.n_steps,
            batch_size=ppo.batch_size,
            n_epochs=ppo.n_epochs,
            gamma=1.0,
            gae_lambda=ppo.gae_lambda,
            clip_range=ppo.clip_range,
            ent_coef=ppo.kl_coef,
            critic_epochs=ppo.critic_epochs,
            critic_learning_rate=ppo.critic_learning_rate,
            max_grad_norm=ppo.max_grad_norm,
            target_kl=ppo.target_kl,
            policy_kwargs={
                "transformer": config.transformer,
                "bf16": config.bf16,
                "functions": self.env_config.grammar.functions,
                "optimizer_kwargs": {"betas": (0.9, 0.99), "eps": 1e-5, "weight_decay": 0.0},
            },
            seed=config.seed,
            device=config.device,
        )
        model.set_logger(self.logger)
        return model

    def execute(self) -> dict[str, Any]:
        """Does the whole run and returns its results."""
        self.warm_start()
        self.save()
        before = self.evaluate("before PPO")
        self.reinforce()
        self.save()
        after = self.evaluate("after PPO")
        results = self.report(before, after)
        self.model.save(self.folder / "o1_model.zip")
        return results

    def warm_start(self) -> None:
        """Imitates the expert until enough held-out problems are solved."""
        config = self.config
        trainer = WarmStart(self.network, config.warm_start, bool(config.bf16))
        demonstrations = DemonstrationStream(
            UniformLevels(levels(config.digits, config.product_digits)),
            stream("demonstrations", config.seed),
            config.warm_start.batch_tokens,
            config.warm_start.slip_rate,
            config.warm_start.spoil_rate,
        )
        problems = self._check_problems()
        bar = tqdm(total=config.warm_start.steps, desc="warm start", unit="step", mininterval=5.0)

        def check(done: int, losses: dict[str, float]) -> bool:
            bar.update()
            for name, value in losses.items():
                self.logger.record_mean(f"warm_start/{name}", value)
            if done % 50 == 0:
                self.logger.record("warm_start/tokens", trainer.tokens)
                self.logger.dump(done)
            if done % config.warm_start.check_every:
                return False
            solved = np.mean([answer.correct for answer in solve(self.network, problems, self.env_config)])
            bar.set_postfix_str(f"loss {losses['loss']:.3f}, solved {solved:.2f}", refresh=False)
            self.logger.record("warm_start/accuracy", float(solved))
            return bool(solved >= config.warm_start.stop_at)

        trainer.run(iter(demonstrations), check)
        bar.close()
        self.training["warm_start"] = {"steps": trainer.done, "tokens": trainer.tokens, "seconds": self.seconds}
        self.model.set_reference()

    def reinforce(self) -> None:
        """Runs PPO under the curriculum."""
        config = self.config
        if not config.epochs:
            return
        callbacks = [
            EpisodeStatistics(self.curriculum),
            Transcripts(self.curriculum, self.env_config, every=max(1, config.epochs // 20)),
            ProgressBar(config.epochs, self.curriculum),
        ]
        self.model.learn(config.epochs * config.ppo.n_envs * config.ppo.n_steps, CallbackList(callbacks))
        self.training["ppo"] = {
            "tokens": self.model.num_timesteps,
            "seconds": self.seconds,
            "curriculum": self.curriculum.state_dict()["frontier"],
        }

    def evaluate(self, title: str) -> list[Cell]:
        """Measures held-out accuracy by task and size: greedy, one path."""
        config = self.config.evaluation
        problems = held_out(levels(config.sums, config.products), config.problems)
        with tqdm(total=len(problems), desc=title, unit="problem", mininterval=5.0) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            answers = solve(self.network, problems, self.env_config, progress=progress)
        return tabulate(answers)

    def report(self, before: Sequence[Cell], after: Sequence[Cell]) -> dict[str, Any]:
        """Writes ``results.json`` and prints the table."""
        digits = self.config.digits
        results = {
            "before": [cell.as_dict() for cell in before],
            "after": [cell.as_dict() for cell in after],
            "average_before": demonstrated_average(before, digits),
            "average_after": demonstrated_average(after, digits),
            **{key: value for key, value in self.training.items() if key != "config"},
        }
        results["seconds"] = self.seconds
        write_json(self.folder / "results.json", results)
        print(f"\n{'held out, greedy':20} {'before PPO':>10} {'after PPO':>10}   95% interval   calls before, after")
        for old, new in zip(before, after, strict=True):
            low, high = new.interval
            calls = f"{old.subtasks:8.1f} {new.subtasks:8.1f}"
            print(f"{new.name:20} {old.accuracy:10.1%} {new.accuracy:10.1%}   {low:.1%} to {high:.1%} {calls}")
        print(f"{f'1 to {digits} digits':20} {results['average_before']:10.1%} {results['average_after']:10.1%}")
        return results

    def save(self) -> None:
        """Writes ``o1_model.pth``."""
        checkpoint.save(self.folder / "o1_model.pth", self.network, self.env_config, self.training)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return round(time.time() - self.started, 1)

    def _check_problems(self) -> list[Problem]:
        """Problems that decide when the warm start stops: of the training split, so the test split stays unseen."""
        cells = levels(self.config.digits, self.config.product_digits)
        return [draw(level, stream("check", level, self.config.seed, index)) for level in cells for index in range(16)]


def warm_up_and_decay(peak: float, share: float = 0.02) -> Callable[[float], float]:
    """Returns a schedule of the remaining progress: up to the peak over the first share of a run, then down to 0."""
    return lambda remaining: peak * min(1.0, (1 - remaining) / share) * remaining


def prepare(config: TrainConfig) -> TrainConfig:
    """Fills in what a configuration leaves to the machine, and sets the number of threads."""
    config.validate()
    th.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
    config = config.small() if config.smoke else config
    name = config.name or time.strftime("%Y%m%d-%H%M%S") + f"-seed{config.seed}"
    return replace(config, name=name, bf16=has_bf16() if config.bf16 is None else config.bf16)


def has_bf16() -> bool:
    """Tells whether the processor computes bfloat16 products in hardware; emulated ones only cost time."""
    if th.cuda.is_available():
        return True
    capabilities = getattr(th.backends.cpu, "get_cpu_capability", lambda: "")()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "AVX512" in capabilities and ("avx512_bf16" in flags or "amx_bf16" in flags)


def versions() -> dict[str, str]:
    """Returns the versions and the machine that a result depends on."""
    return {
        "o1nano": o1nano.__version__,
        "python": platform.python_version(),
        "torch": str(th.__version__),  # a subclass of str, which is no plain value
        "gymnasium": gymnasium.__version__,
        "stable_baselines3": stable_baselines3.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {th.get_num_threads()} threads",
        "command": " ".join(sys.argv),
    }


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that people can read too."""
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")


def _as_table(config: dict[str, Any], prefix: str = "") -> str:
    """A configuration as a markdown table."""
    rows = [] if prefix else ["| field | value |", "| --- | --- |"]
    for name, value in config.items():
        if isinstance(value, dict):
            rows.append(_as_table(value, f"{prefix}{name}."))
        else:
            rows.append(f"| {prefix}{name} | {value} |")
    return "\n".join(rows)
