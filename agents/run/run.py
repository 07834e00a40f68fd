"""The reference run: warm start, PPO under a curriculum, held-out figures before and after.

A run is a sequence of phases. What a phase has found is kept in ``results``; a phase that is in there is over. How a
run is cut and resumed is in ``RunState``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from o1nano.agents.evaluation.figures import as_image, by_digits, by_tokens
from o1nano.agents.evaluation.held_out import Cell, demonstrated_average, held_out, tabulate
from o1nano.agents.evaluation.reports import comparison
from o1nano.agents.learning.distributed import Team
from o1nano.agents.run.build import build_check_problems, build_curriculum, evaluated
from o1nano.agents.run.callbacks import FrameStatistics, Pauses, Times, Transcripts
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.hardware import cores
from o1nano.agents.run.run_state import RunState
from o1nano.agents.run.tensorboard import NOT_TEXT, RunLogger
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Problem
from o1nano.policies import model_file as checkpoint
from o1nano.policies.device import find_device, has_bf16
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.answers import Answer, solve
from o1nano.policies.serialization import write_json


def prepare(config: TrainConfig, team: Team | None = None) -> TrainConfig:
    """Fills in what a configuration leaves to the machine.

    Args:
        config: What was asked for.
        team: The processes, if they have been started already.

    Raises:
        ConfigurationError: If a value makes no sense.
        CheckpointError: If there is no model to start from.
    """
    config.validate()
    build_curriculum(config)  # which checks its thresholds
    config = config.small() if config.smoke else config
    processes = team.size if team else _processes(config)
    if config.processes not in (None, processes):
        raise ConfigurationError(f"processes={config.processes} of {processes} that run; accepted: {processes}")
    threads = config.threads or max(1, cores() // (team.on_machine if team else processes))
    name = config.name or f"{datetime.now():%Y%m%d-%H%M%S-%f}-seed{config.seed}"
    bf16 = has_bf16(config.device) if config.bf16 is None else config.bf16
    shape = architecture(config) if config.init_from else config.transformer
    if config.frame_length > shape.max_context:
        raise ConfigurationError(
            f"frame_length={config.frame_length} with max_context={shape.max_context}; accepted: at most as many"
        )
    return replace(config, name=name, processes=processes, threads=threads, bf16=bf16, transformer=shape)


def _processes(config: TrainConfig) -> int:
    """Returns how many processes to start. Two are faster than one with two threads (docs/scaling.md)."""
    if config.processes:
        return config.processes
    if config.threads or find_device(config.device) != "cpu":
        return 1
    return max(count for count in range(1, min(4, cores()) + 1) if config.ppo.n_envs % count == 0)


def architecture(config: TrainConfig) -> TransformerConfig:
    """Returns the architecture of the model that a run begins with.

    Raises:
        CheckpointError: If there is no such model.
        ConfigurationError: If another architecture is asked for.
    """
    found = checkpoint.load(Path(config.init_from))[0].config
    if config.transformer not in (TrainConfig().transformer, found):
        raise ConfigurationError(
            f"--init-from {config.init_from} has another architecture than the flags --transformer.*; expected {found}"
        )
    return found


class Run(RunState):
    """One training run: its phases, in the order in which they are done. The arguments are those of ``RunState``."""

    def execute(self) -> None:
        """Does every phase that is not over, and reports.

        Raises:
            KeyboardInterrupt: If the run was told to stop; everything has been saved.
        """
        phases: dict[str, Callable[[], Any]] = {
            "warm_start": self.warm_start,
            "before": lambda: self.evaluate("before PPO"),
            "ppo": self.reinforce,
            # Without PPO nothing has changed.
            "after": lambda: self.evaluate("after PPO") if self.config.iterations else self.results["before"],
        }
        for name, phase in phases.items():
            if name in self.results:
                continue
            self.phase = name
            self.results[name] = phase()
            self.display.end()
            self.checkpoint()
            self.save()
        if self.team.leads:
            self.model.save(self.folder / "o1_model.zip")
            self.report()

    def warm_start(self) -> dict[str, Any]:
        """Imitates the expert until enough problems of the demonstrated sizes are solved."""
        config, trainer, logger = self.config.warm_start, self.trainer, self.logger
        problems = build_check_problems(self.config)
        self.display.begin("warm start", config.steps, trainer.done)

        def check(done: int, losses: dict[str, float]) -> bool:
            for name, value in losses.items():
                logger.record_mean(f"warm_start/{name}", value)
            self.display.update(done)
            if config.check_every is not None and done % config.check_every == 0:
                solved = np.mean([answer.correct for answer in self.solve(problems)])
                logger.record("warm_start/accuracy", float(solved))
                self.display.update(done, f"loss {losses['loss']:.3f}, solved {solved:.2f}")
                if config.stop_at is not None and solved >= config.stop_at:
                    return True
            if done % 10 == 0:
                logger.dump(trainer.tokens)
            self.pause(done)
            return False

        trainer.run(iter(self.demonstrations), check)
        logger.dump(trainer.tokens)
        logger.start = trainer.tokens
        self.model.set_reference()
        return {"steps": trainer.done, "tokens": trainer.tokens}

    def reinforce(self) -> dict[str, Any]:
        """Runs PPO under the curriculum."""
        config, model = self.config, self.model
        total = config.iterations * model.n_envs * model.n_steps
        self.logger.scale = self.team.size
        self.display.begin("PPO", config.iterations, model.num_timesteps * config.iterations // max(1, total))

        def pause(iterations: int, success: float) -> None:
            sizes = " ".join(f"{family[:3]}{size}" for family, size in self.curriculum.frontier.items())
            self.display.update(iterations, f"success {success:.2f}, sizes {sizes}")
            self.pause(iterations)

        callbacks: list[BaseCallback] = [
            Times(),
            self.levels,
            self.statistics,
            FrameStatistics(),
            Pauses(pause),
        ]
        if self.team.leads:
            every = max(1, config.iterations // 20)
            callbacks.insert(-1, Transcripts(self.curriculum, self.env_config, every, self.display.sample))
        fresh = model.num_timesteps == 0
        model.learn(total - model.num_timesteps, CallbackList(callbacks), reset_num_timesteps=fresh)
        self.display.update(config.iterations)
        return {"tokens": model.num_timesteps * self.team.size, "curriculum": dict(self.curriculum.frontier)}

    def evaluate(self, title: str) -> list[dict[str, Any]]:
        """Measures held-out accuracy by task and size: greedy, one path."""
        problems = held_out(evaluated(self.config), self.config.evaluation.problems_per_level)
        self.display.begin(title, len(range(0, len(problems), self.team.size)))

        def progress(done: int) -> None:
            self.display.update(done)
            if self.team.size == 1:
                self.pause(0)
            elif self.stopping:  # several are never at the same place; nothing has changed since the last checkpoint
                raise KeyboardInterrupt

        answers = self.solve(problems, progress)
        found = tabulate(answers)
        self.logger.record("evaluation/accuracy_by_digits", as_image(by_digits(answers)), exclude=NOT_TEXT)
        self.logger.record("evaluation/tokens_of_answers", as_image(by_tokens(answers)), exclude=NOT_TEXT)
        for cell in found:
            self.logger.record(f"held_out/{cell.name}", cell.accuracy)
        self.logger.record("evaluation/average", self.average(found))
        self.logger.dump(self.model.num_timesteps)
        return [asdict(cell) for cell in found]

    def solve(self, problems: Sequence[Problem], progress: Callable[[int], None] = lambda done: None) -> list[Answer]:
        """Answers problems, each in one of the processes; returns all answers in all of them."""
        rank, size = self.team.rank, self.team.size
        found = self.team.gather(solve(self.network, problems[rank::size], self.env_config, progress=progress))
        return [found[index % size][index // size] for index in range(len(problems))]

    def average(self, cells: Sequence[Cell]) -> float:
        """Returns the mean accuracy of the demonstrated sizes."""
        return demonstrated_average(cells, self.config.sum_digits, self.config.product_digits)

    def report(self) -> None:
        """Writes ``results.json``, ``times.json`` and the final figures, and shows the table."""
        before = [Cell.restore(cell) for cell in self.results["before"]]
        after = [Cell.restore(cell) for cell in self.results["after"]]
        averages = {"average_before": self.average(before), "average_after": self.average(after)}
        cells = {"before": [cell.as_dict() for cell in before], "after": [cell.as_dict() for cell in after]}
        assert isinstance(self.logger, RunLogger)
        self.logger.finish(asdict(self.config), averages, self.seconds, self.statistics.history)
        self.logger.dump(self.model.num_timesteps)
        write_json(self.folder / "times.json", {name: round(value, 1) for name, value in self.seconds.items()})
        write_json(self.folder / "results.json", {**self.results, **cells, **averages})
        self.display.print("\n" + comparison(before, after, averages))
