"""Ranges of the fields of a configuration, written where the fields are."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from o1nano.envs.errors import ConfigurationError


@dataclass(frozen=True)
class Range:
    """The values that a field may have: ``n: Annotated[int, Range(1, 1000)] = 200``.

    Attributes:
        low: The smallest value.
        high: The largest value that is plausible.
    """

    low: float
    high: float


def check_ranges(config: Any, prefix: str = "") -> None:
    """Checks every field that has a range, those of nested dataclasses too. None passes where the annotation allows it.

    Args:
        config: A dataclass. If a field is a tuple, each of its values is checked.
        prefix: Text before the name of a field in an error.

    Raises:
        ConfigurationError: If a value is out of its range, is NaN, or is not an integer where the annotation names no
            other number. The message names the field and the range.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        name = prefix + field.name
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_ranges(value, f"{name}.")
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            continue
        kind, *annotations = get_args(hint)
        kinds = get_args(kind) or (kind,)
        for limits in annotations:
            if isinstance(limits, Range):
                for item in value if isinstance(value, tuple) else (value,):
                    _check(name, item, limits, kinds)


def _check(name: str, value: Any, limits: Range, kinds: tuple[Any, ...]) -> None:
    """Raises ``ConfigurationError`` unless a value is in its range and of one of the annotated types."""
    optional = type(None) in kinds
    if value is None and optional:
        return

    whole = float not in kinds
    numbers = (int, np.integer) if whole else (int, float, np.number)
    # The comparison is False for NaN too.
    if not isinstance(value, numbers) or not limits.low <= value <= limits.high:
        kind = "an integer" if whole else "a number"
        or_none = ", or None" if optional else ""
        shown = repr(value) if isinstance(value, str) else str(value)
        raise ConfigurationError(f"{name}={shown:.40}; expected {kind} from {limits.low} to {limits.high}{or_none}")
