"""The record of a run: what its model was trained on, for the model file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from o1nano.agents.evaluation.held_out import Cell
from o1nano.agents.run.build import demonstration_weights
from o1nano.agents.run.config import TrainConfig
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems.problem import Level, Phrasing, draw
from o1nano.envs.seeding import stream
from o1nano.policies.forms import forms_of
from o1nano.policies.record import LevelRecord, TrainingRecord

# Problems of a level that show the words and forms of its prompts.
_SAMPLES = 200
# Share of problems with a form from which on it counts as known: some 40 of 80,000. A model that had seen "x+4=19" in
# about 20 did not know it.
_LEAST_SHARE = 1 / 2000


def training_record(
    config: TrainConfig, curriculum: Curriculum, results: Mapping[str, Any], earlier: TrainingRecord | None = None
) -> TrainingRecord:
    """Returns what a model was trained on so far.

    Args:
        config: The run's.
        curriculum: With the results of the last episodes.
        results: Of the run's phases.
        earlier: The record of the model that the run began with.
    """
    # What the model has learned before stays part of what it was trained on.
    levels = dict(earlier.levels) if earlier else {}
    imitates = config.warm_start.steps or (config.iterations and config.ppo.imitation_coef)
    shown = demonstration_weights(config) if imitates else {}
    for level in shown:
        levels[str(level)] = LevelRecord(demonstrated=True)

    # Measured before PPO, then after it: the last figures hold.
    for phase in ("before", "after"):
        for saved in results.get(phase, ()):
            cell = Cell.restore(saved)
            old = levels.get(cell.name, LevelRecord())
            levels[cell.name] = LevelRecord(old.demonstrated, old.episodes, old.success, cell.n, cell.accuracy)

    # A level that is open but was never drawn has taught nothing.
    for level in curriculum.open_levels:
        count = curriculum.episodes(level)
        if count:
            old = levels.get(str(level), LevelRecord())
            success = curriculum.success(level)
            levels[str(level)] = LevelRecord(old.demonstrated, count, success, old.problems, old.accuracy)

    # Words are those of the prompts that the model has seen: by demonstration, or by practice.
    practised = dict.fromkeys(curriculum.open_levels if config.iterations else [], 1.0)
    words = _words(tuple(practised | shown), config.phrasing)
    known = dict.fromkeys([*(earlier.tokens if earlier else ()), *words])
    # PPO learns little about forms that no demonstration had: it hardly ever solves them.
    forms = forms_among(shown or practised, config.phrasing)
    known_forms = dict.fromkeys([*(earlier.forms if earlier else ()), *forms])
    return TrainingRecord(levels, tuple(known), tuple(known_forms))


def forms_among(weights: Mapping[Level, float], phrasing: Phrasing) -> tuple[str, ...]:
    """Returns the forms that a model knows from problems of some levels, in alphabetical order.

    Args:
        weights: How often each level is drawn.
        phrasing: How problems are written.
    """
    return _forms(tuple(weights.items()), phrasing)


@lru_cache(maxsize=4)
def _forms(weights: Iterable[tuple[Level, float]], phrasing: Phrasing) -> tuple[str, ...]:
    """Returns the forms with a large enough share of the problems, found in a sample of each level."""
    shares: dict[str, float] = {}
    total = 0.0
    for level, weight in weights:
        total += weight
        rng = stream("forms", level)
        for _ in range(_SAMPLES):
            for form in forms_of(draw(level, rng, "all", phrasing)):
                shares[form] = shares.get(form, 0.0) + weight / _SAMPLES
    return tuple(sorted(form for form, share in shares.items() if share >= _LEAST_SHARE * total))


@lru_cache(maxsize=4)
def _words(levels: Iterable[Level], phrasing: Phrasing) -> tuple[str, ...]:
    """Returns the tokens of the prompts of some levels, found in a sample of each; and those of every number."""
    tokens: set[int] = set()
    for level in levels:
        rng = stream("words", level)
        for _ in range(_SAMPLES):
            tokens.update(draw(level, rng, "all", phrasing).prompt)
    return tuple(TOKENS[token] for token in sorted(tokens))
