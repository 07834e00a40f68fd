"""The phases of a run: imitation, held-out evaluation, PPO, and the report. ``train_rl.py`` calls them in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from o1nano.agents.evaluation.figures import as_image, by_digits, by_tokens
from o1nano.agents.evaluation.held_out import Cell, demonstrated_average, held_out, tabulate
from o1nano.agents.evaluation.reports import comparison
from o1nano.agents.run.build import build_check_problems, evaluated
from o1nano.agents.run.callbacks import (
    CheckpointCallback,
    FrameStatisticsCallback,
    TimingCallback,
    TranscriptCallback,
)
from o1nano.agents.run.config import TrainConfig
from o1nano.agents.run.run import BEFORE_PPO_FILE, Run
from o1nano.agents.run.tensorboard import NOT_TEXT
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.problems.problem import Problem
from o1nano.policies.search.answers import Answer, no_progress, solve
from o1nano.policies.serialization import write_json

_MAX_SHOWN = 8  # families whose sizes the progress shows
_DUMP_EVERY = 10  # steps of the warm start between TensorBoard's scalars


def warm_start(run: Run) -> dict[str, Any]:
    """Imitates the expert until enough problems of the demonstrated sizes are solved; returns steps and tokens."""
    config = run.config.warm_start
    trainer = run.trainer
    problems = build_check_problems(run.config)
    run.display.begin("warm start", config.steps, trainer.done)

    def after_step(done: int, losses: dict[str, float]) -> bool:
        """Logs a step, checks if it is time to; returns whether the model is good enough."""
        for name, value in losses.items():
            run.logger.record_mean(f"warm_start/{name}", value)
        run.display.update(done)

        if config.check_every is not None and done % config.check_every == 0:
            solved = float(np.mean([answer.correct for answer in _solve(run, problems)]))
            run.logger.record("warm_start/accuracy", solved)
            run.display.update(done, f"loss {losses['loss']:.3f}, solved {solved:.2f}")
            if config.stop_at is not None and solved >= config.stop_at:
                return True

        if done % _DUMP_EVERY == 0:
            run.logger.dump(trainer.tokens)
        run.pause(done)
        return False

    trainer.run(iter(run.demonstrations), after_step)

    # PPO's part of the axis begins where the warm start's ends.
    run.logger.dump(trainer.tokens)
    run.logger.start = trainer.tokens

    # PPO is held close to the policy that imitation has found.
    run.model.set_reference()
    return {"steps": trainer.done, "tokens": trainer.tokens}


def reinforce(run: Run) -> dict[str, Any]:
    """Runs PPO under the curriculum; returns its tokens and the largest open sizes."""
    model = run.model
    iterations = run.config.iterations
    tokens_per_iteration = model.n_envs * model.n_steps
    total = iterations * tokens_per_iteration
    run.logger.scale = run.process_group.size
    run.display.begin("PPO", iterations, model.num_timesteps // tokens_per_iteration)

    # The stream continues where the warm start stopped.
    if run.config.ppo.imitation_coef:
        model.set_demonstrations(run.demonstrations)

    # A resumed run continues its count of steps, from which the learning rate follows.
    is_new = model.num_timesteps == 0
    if is_new:
        # For comparisons, such as of pass@k before and after.
        run.save(BEFORE_PPO_FILE)
    model.learn(total - model.num_timesteps, _callbacks(run), reset_num_timesteps=is_new)
    run.display.update(iterations)
    return {"tokens": model.num_timesteps * run.process_group.size, "curriculum": dict(run.curriculum.frontier)}


def _describe_sizes(curriculum: Curriculum) -> str:
    """Returns the largest open size of each family; of many families, how many sizes PPO has opened."""
    frontier = curriculum.frontier
    if len(frontier) > _MAX_SHOWN:
        opened = sum(frontier.values()) - sum(curriculum.first.values())
        return f"{opened} opened"
    return " ".join(f"{family[:3]}{size}" for family, size in frontier.items())


def _callbacks(run: Run) -> CallbackList:
    """Returns what PPO calls around every rollout. The curriculum learns the results before they are logged."""

    def pause(iterations: int, success: float) -> None:
        sizes = _describe_sizes(run.curriculum)
        run.display.update(iterations, f"success {success:.2f}, sizes {sizes}")
        run.pause(iterations)

    callbacks: list[BaseCallback] = [
        TimingCallback(),
        run.level_sampler,
        run.statistics,
        FrameStatisticsCallback(),
    ]
    if run.process_group.is_rank0:
        every = run.config.iterations // 20
        callbacks.append(TranscriptCallback(run.curriculum, run.env_config, every, run.display.sample))
    callbacks.append(CheckpointCallback(pause))
    return CallbackList(callbacks)


def evaluate(run: Run) -> list[dict[str, Any]]:
    """Measures held-out accuracy by task and size, greedily with one path; returns the cells of the table."""
    if "before" in run.results and not run.config.iterations:
        # Without PPO nothing has changed.
        return list(run.results["before"])

    # All processes draw the same problems and answer a part of them each.
    given = run.config.evaluation
    problems = held_out(evaluated(run.config), given.problems_per_level, phrasing=run.config.phrasing)
    own_problems = problems[run.process_group.rank :: run.process_group.size]
    run.display.begin(f"{run.current_phase} PPO", len(own_problems))

    # A signal that comes later stops the run at once: the last checkpoint holds everything.
    run.pause(0)
    answers = _solve(run, problems, run.display.update)
    cells = tabulate(answers)
    run.logger.record("evaluation/accuracy_by_digits", as_image(by_digits(answers)), exclude=NOT_TEXT)
    run.logger.record("evaluation/tokens_of_answers", as_image(by_tokens(answers)), exclude=NOT_TEXT)

    # Of the same names before and after PPO: TensorBoard draws both on one line.
    for cell in cells:
        run.logger.record(f"held_out/{cell.name}", cell.accuracy)
    run.logger.record("evaluation/average", _average(run.config, cells))
    run.logger.dump(run.model.num_timesteps)
    return [asdict(cell) for cell in cells]


def report(run: Run) -> None:
    """Writes ``results.json``, ``times.json``, ``o1_model.zip`` and the final figures, and shows the table."""
    if not run.process_group.is_rank0:
        return

    # An export only: the format of Stable-Baselines3 is pickled, and nothing here reads it.
    run.model.save(run.folder / "o1_model.zip")
    before = [Cell.restore(cell) for cell in run.results["before"]]
    after = [Cell.restore(cell) for cell in run.results["after"]]
    averages = {"average_before": _average(run.config, before), "average_after": _average(run.config, after)}

    run.logger.finish(asdict(run.config), averages, run.seconds, run.statistics.history)
    run.logger.dump(run.model.num_timesteps)
    cells = {"before": [cell.as_dict() for cell in before], "after": [cell.as_dict() for cell in after]}
    write_json(run.folder / "times.json", {name: round(value, 1) for name, value in run.seconds.items()})
    write_json(run.folder / "results.json", {**run.results, **cells, **averages})
    run.display.print("\n" + comparison(before, after, averages))


def _solve(run: Run, problems: Sequence[Problem], progress: Callable[[int], None] = no_progress) -> list[Answer]:
    """Answers each problem in one of the processes; returns all answers in every process, in order."""
    # Strided, so that each process gets the same mix of easy and hard levels.
    rank = run.process_group.rank
    size = run.process_group.size
    own = solve(run.network, problems[rank::size], run.env_config, progress=progress)

    # One process may be done long before another. It still hears signals.
    run.process_group.wait()

    # Problem 5 of three processes is the second one (5 // 3 = 1) of process 2 (5 % 3).
    gathered = run.process_group.gather(own)
    return [gathered[index % size][index // size] for index in range(len(problems))]


def _average(config: TrainConfig, cells: Sequence[Cell]) -> float:
    return demonstrated_average(cells, config.sum_digits, config.product_digits)
