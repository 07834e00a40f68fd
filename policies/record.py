"""What a model was trained on and how it was measured, as its file says: a model knows what it does not know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.measures import numbers_of
from o1nano.envs.problems.problem import Level, Problem, read_level
from o1nano.envs.problems.registry import family_of
from o1nano.envs.problems.signed import Signed
from o1nano.policies.forms import forms_of, written

# A level that was practised only counts as learned if this share of so many episodes was right.
_LEARNED = 0.5
_EPISODES = 8
# A level that was measured is pointed out if the accuracy is below.
_RELIABLE = 0.9
# Characters of a form in a message.
_MOST_SHOWN = 60


@dataclass(frozen=True)
class LevelRecord:
    """What a model file says about one level.

    Attributes:
        demonstrated: Whether the warm start demonstrated it.
        episodes: Results of the last episodes of PPO that were kept.
        success: Share of right answers among these.
        problems: Held-out problems that were measured.
        accuracy: Share of right answers among these.
    """

    demonstrated: bool = False
    episodes: int = 0
    success: float = 0.0
    problems: int = 0
    accuracy: float = 0.0

    @property
    def is_learned(self) -> bool:
        """Whether the model was shown the level, or solved it often enough under PPO."""
        return self.demonstrated or (self.episodes >= _EPISODES and self.success >= _LEARNED)


@dataclass(frozen=True)
class TrainingRecord:
    """What a model file says about the training.

    Attributes:
        levels: The record of each level, by its text.
        tokens: The tokens that stood in prompts.
        forms: The forms that enough problems had: see ``forms``. Files of earlier versions name none.
    """

    levels: Mapping[str, LevelRecord]
    tokens: Collection[str]
    forms: Collection[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns plain containers."""
        levels = {name: asdict(level) for name, level in self.levels.items()}
        return {"levels": levels, "tokens": list(self.tokens), "forms": list(self.forms)}

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> TrainingRecord:
        """Returns the record that ``as_dict`` has turned into plain containers."""
        levels = {str(name): LevelRecord(**level) for name, level in content["levels"].items()}
        forms = tuple(map(str, content.get("forms", ())))
        return cls(levels, tuple(map(str, content["tokens"])), forms)

    def unknown_words(self, prompt: Sequence[int]) -> list[str]:
        """Returns the words of a prompt that stood in no prompt of the training, each once.

        Args:
            prompt: Token ids.
        """
        return unknown_words(prompt, self.tokens)

    @cached_property
    def _groups(self) -> dict[tuple[str, int | None], dict[int, LevelRecord]]:
        """The records by size, of each family and second parameter."""
        groups: dict[tuple[str, int | None], dict[int, LevelRecord]] = {}
        for name, record in self.levels.items():
            level = read_level(name)
            groups.setdefault((level.family, level.extra), {})[level.size] = record
        return groups

    def beyond(self, problem: Problem) -> str:
        """Returns what about a problem is beyond the training, or known to be unreliable, in a few words; else "".

        Args:
            problem: What the model is asked.
        """
        # Of the families that have such problems, the size that this one takes and the largest size that was learned.
        found: list[tuple[int, int, str]] = []
        is_covered = False
        measured: list[tuple[float, str]] = []
        for (family, extra), records in self._groups.items():
            size = FAMILIES[family].size_of(problem.expr, extra)
            if size is None:
                continue
            learned = max((other for other, record in records.items() if record.is_learned), default=0)
            is_covered = is_covered or size <= learned
            found.append((learned - size, learned, str(Level(family, size, extra))))
            measured += _measured(Level(family, size, extra), records)

        # The family that is closest to having learned it names the problem.
        _, learned, name = max(found, default=(0, 0, ""))
        if not learned:
            return self._kind(problem)
        if not is_covered:
            return f"{name} (it learned sizes up to {learned})"
        accuracy, told = max(measured, default=(1.0, ""))
        return told if accuracy < _RELIABLE else self._unknown_form(problem)

    @cached_property
    def _known_forms(self) -> frozenset[str]:
        return frozenset(self.forms)

    def _unknown_form(self, problem: Problem) -> str:
        """Returns how a problem is written, if that has a form that the training hardly had; otherwise nothing.

        Its family, sign and size may be known all the same: who has learned ``3*(2+3)`` may not know ``-(2+3)``.
        """
        if not self.forms or forms_of(problem) <= self._known_forms:
            return ""
        shown = written(problem)
        if len(shown) > _MOST_SHOWN:
            shown = f"{shown[: _MOST_SHOWN - 3]}..."
        return f'numbers n in the form "{shown}"'

    def _kind(self, problem: Problem) -> str:
        """Returns the name of a problem's kind, of which no level was learned that could have the problem."""
        name = family_of(problem.expr).name
        for other in FAMILIES.values():
            # "-5+3" is read as an expression, but is of the kind signed_addition.
            if isinstance(other, Signed) and other.size_of(problem.expr) is not None:
                name = other.name
                break

        # Shorter ones were learned: of three operands, but not of five.
        count = len(numbers_of(problem.expr))
        if count > 2 and any(family == name for family, _ in self._groups):
            return f"{name} of {count} numbers"
        return name


def _measured(level: Level, records: Mapping[int, LevelRecord]) -> list[tuple[float, str]]:
    """Returns the accuracy at the smallest measured size that is not below a level's, and says it; or nothing."""
    sizes = [size for size, record in records.items() if record.problems and size >= level.size]
    if not sizes:
        return []
    record = records[min(sizes)]
    name = Level(level.family, min(sizes), level.extra)
    return [(record.accuracy, f"{name} (it was right in {record.accuracy:.0%} of {record.problems})")]


def unknown_words(prompt: Sequence[int], known: Collection[str]) -> list[str]:
    """Returns the words of a prompt that are not among some tokens, each once.

    Args:
        prompt: Token ids.
        known: Tokens.
    """
    words = dict.fromkeys(TOKENS[token] for token in prompt)
    return [word for word in words if word not in known]
