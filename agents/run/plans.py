"""Plans: how far a family of problems is demonstrated, how far PPO may take it, and how often it is drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level
from o1nano.envs.problems.registry import check_family

# FAMILY/DEMONSTRATED, then optionally -LARGEST, *SHARE, and after it :SHARE of the practice.
_SHARE = r"(\d{1,4}(?:\.\d{1,4})?)"
_FORM = re.compile(rf"(\w{{1,40}})/(\d{{1,3}})(?:-(\d{{1,3}}))?(?:\*{_SHARE}(?::{_SHARE})?)?", re.ASCII)


@dataclass(frozen=True)
class FamilyPlan:
    """A family's part in a run.

    Attributes:
        family: Name of the family.
        demonstrated: Largest size that the warm start demonstrates; it demonstrates all sizes from 1.
        largest: Largest size that the curriculum may open.
        share: Factor on how often each of its levels is drawn in demonstrations.
        practice: The same under the curriculum.
    """

    family: str
    demonstrated: int
    largest: int
    share: float = 1.0
    practice: float = 1.0

    @property
    def demonstrations(self) -> list[Level]:
        """The levels that are demonstrated."""
        return [Level(self.family, size) for size in range(1, self.demonstrated + 1)]

    @property
    def extremes(self) -> list[Level]:
        """The largest demonstrated level, and the largest one of all."""
        # One level if both are the same.
        sizes = dict.fromkeys((self.demonstrated, self.largest))
        return [Level(self.family, size) for size in sizes]


def read_plan(text: str) -> FamilyPlan:
    """Reads a plan as the flag has it: a family, two sizes, and shares. The second size and the shares may be missing.

    Args:
        text: For example ``gcd/2-4``, ``addition/3-20*0.5``, or ``game_of_24/1*6:2`` with another share for practice.

    Raises:
        ConfigurationError: If it is no plan.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            f"plan {text[:60]!r}; expected FAMILY/DEMONSTRATED-LARGEST*SHARE, as gcd/2-4*0.5, gcd/2-4 or gcd/2"
        )

    # Without LARGEST, PPO practises what was demonstrated and opens no further size. One share holds for both.
    family, demonstrated, largest, given, practised = found.groups()
    share = float(given or 1)
    plan = FamilyPlan(
        family=check_family(family),
        demonstrated=int(demonstrated),
        largest=int(largest or demonstrated),
        share=share,
        practice=float(practised or share),
    )
    if not 1 <= plan.demonstrated <= plan.largest or not plan.share or not plan.practice:
        raise ConfigurationError(f"plan {text!r}; expected 1 <= DEMONSTRATED <= LARGEST, and SHARE above 0")
    return plan


def read_plans(texts: Sequence[str]) -> dict[str, FamilyPlan]:
    """Reads plans, one for each family.

    Args:
        texts: The plans: see ``read_plan``.

    Raises:
        ConfigurationError: If one is no plan, or a family has two.
    """
    plans: dict[str, FamilyPlan] = {}
    for text in texts:
        plan = read_plan(text)
        if plan.family in plans:
            raise ConfigurationError(f"two plans for {plan.family}; expected one for each family")
        plans[plan.family] = plan
    return plans
