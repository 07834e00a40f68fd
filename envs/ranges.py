"""Ranges of the fields of a configuration, written where the fields are."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from o1nano.envs.errors import ConfigurationError


@dataclass(frozen=True)
class Range:
    """The values that a field may have: ``n: Annotated[int, Range(1, 1000)] = 200``.

    Attributes:
        low: The smallest one.
        high: The largest one that makes sense, or is not a slip of the keyboard.
    """

    low: float
    high: float


def check_ranges(config: Any, prefix: str = "") -> None:
    """Checks every field that has a range, those of nested dataclasses too. None passes where the annotation allows it.

    Args:
        config: A dataclass. Of a field with several values each one is checked.
        prefix: What an error writes before the name of a field.

    Raises:
        ConfigurationError: If a value is out of its range or NaN; names the field and the range.
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
        optional = type(None) in get_args(kind)
        for limits in annotations:
            if isinstance(limits, Range):
                for item in value if isinstance(value, tuple) else (value,):
                    _check(name, item, limits, optional)


def _check(name: str, value: float | None, limits: Range, optional: bool) -> None:
    if value is None and optional:
        return
    # The comparison is False for NaN too.
    if value is None or not limits.low <= value <= limits.high:
        kind = "an integer" if isinstance(value, int) else "a number"
        or_none = ", or None" if optional else ""
        raise ConfigurationError(f"{name}={value!s:.40}; expected {kind} from {limits.low} to {limits.high}{or_none}")
