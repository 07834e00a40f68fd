"""Dataclasses from plain containers, every value checked against its annotation."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from o1nano.envs.errors import ConfigurationError

T = TypeVar("T")


def restore(kind: type[T], content: Any) -> T:
    """Builds a dataclass from what ``dataclasses.asdict`` has made of one.

    Raises:
        ConfigurationError: If a field is unknown or has a value of another type.
    """
    hints = get_type_hints(kind)
    if not isinstance(content, Mapping) or not set(content) <= set(hints):
        unknown = sorted(map(str, set(content) - set(hints))) if isinstance(content, Mapping) else [repr(content)[:40]]
        raise ConfigurationError(f"{unknown[0]} in a {kind.__name__}; accepted: {', '.join(hints)}")
    return kind(**{name: _value(name, hints[name], value) for name, value in content.items()})


def _value(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return restore(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        value = tuple(value)  # as configurations have them
    if not _fits(hint, value):
        raise ConfigurationError(f"{name}={value!r:.60}; accepted: {hint}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    """Tells whether a value is of an annotated type; True is no integer, and an integer is a float."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is Literal:
        return value in args
    if origin is Sequence or (origin is tuple and args[-1] is Ellipsis):
        return isinstance(value, tuple) and all(_fits(args[0], item) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, args, value))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint
