"""Typed errors. Each message names the bad value and what was expected."""

from __future__ import annotations

from typing import get_args


class O1NanoError(ValueError):
    """Base of all errors that a wrong input can cause."""


class TokenizationError(O1NanoError):
    """A text contains a word or a sign for which there is no token."""


class ProblemError(O1NanoError):
    """A text or a token sequence is not a problem that the environment can pose."""


class ConfigurationError(O1NanoError):
    """A keyword argument or a flag has a value that makes no sense."""


class ActionError(O1NanoError):
    """An action is not a token id, or there is not one for each environment."""


class RenderModeError(ConfigurationError, TypeError):
    """A render mode does not exist. Also a ``TypeError``: Stable-Baselines3 then makes the environment without one."""


class CheckpointError(O1NanoError):
    """A file is not a usable checkpoint."""


class StorageError(O1NanoError):
    """A file cannot be written."""


class ProcessGroupError(O1NanoError):
    """One of several processes that work together has ended."""


def require_choice(name: str, value: str, kind: object) -> None:
    """Checks that a value is one of a ``Literal``'s.

    Args:
        name: The argument, for the error.
        value: Its value.
        kind: The ``Literal`` type.

    Raises:
        ConfigurationError: If it is not.
    """
    if value not in get_args(kind):
        raise ConfigurationError(f"{name}={value!r}; expected {', '.join(map(repr, get_args(kind)))}")
