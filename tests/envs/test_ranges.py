"""Ranges that stand at the fields of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pytest

from o1nano.agents.run.config import TrainConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.ranges import Range, check_ranges


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Range(0, 1)] = 0.5


@dataclass(frozen=True)
class Outer:
    n: Annotated[int, Range(1, 10)] = 1
    several: Annotated[tuple[int, ...], Range(0, 3)] = ()
    maybe: Annotated[float | None, Range(1, 2)] = None
    free: int = -1
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    "values", [{}, {"n": 1}, {"n": 10}, {"several": (0, 3)}, {"maybe": 1.5}, {"inner": Inner(0)}, {"free": 10**9}]
)
def test_values_in_their_ranges(values: dict[str, Any]) -> None:
    outer = replace(Outer(), **values)
    check_ranges(outer)
    # The same values with one beside them that is wrong.
    with pytest.raises(ConfigurationError, match="n=0; expected"):
        check_ranges(replace(outer, n=0))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n": 0}, "n=0; expected an integer from 1 to 10"),
        ({"n": 11}, "n=11; expected an integer from 1 to 10"),
        ({"n": 1.5}, "n=1.5; expected an integer from 1 to 10"),
        ({"n": "2"}, "n='2'; expected an integer from 1 to 10"),
        ({"n": None}, "n=None; expected an integer from 1 to 10"),
        ({"several": (0, 4)}, "several=4; expected an integer from 0 to 3"),
        ({"maybe": 0.5}, "maybe=0.5; expected a number from 1 to 2, or None"),
        ({"inner": Inner(1.5)}, "inner.rate=1.5; expected a number from 0 to 1"),
        ({"inner": Inner(float("nan"))}, "inner.rate=nan; expected a number from 0 to 1"),
    ],
)
def test_the_field_and_its_range_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check_ranges(replace(Outer(), **values))
    assert str(raised.value) == said


def test_the_ranges_of_a_run_are_checked() -> None:
    config = TrainConfig()
    config.validate()
    with pytest.raises(ConfigurationError, match=r"^ppo\.n_envs=0; expected an integer from 1 to 65536$"):
        replace(config, ppo=replace(config.ppo, n_envs=0)).validate()
