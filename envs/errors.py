"""Typed errors. Each message names the bad value and what is accepted."""

from __future__ import annotations

from typing import get_args


class O1NanoError(ValueError):
    """Base of every error that a wrong input can cause."""


class TokenizationError(O1NanoError):
    """A text contains something that no token stands for."""


class ProblemError(O1NanoError):
    """A text or a token sequence is not a problem that the environment can pose."""


class ConfigurationError(O1NanoError):
    """A keyword argument or a flag has a value that makes no sense."""


class ActionError(O1NanoError):
    """An action is no token, or there is not one for each environment."""


class RenderModeError(ConfigurationError, TypeError):
    """A render mode that does not exist. Also a ``TypeError``, on which Stable-Baselines3 does without one."""


class CheckpointError(O1NanoError):
    """A file is not a usable checkpoint."""


class StorageError(O1NanoError):
    """A file cannot be written."""


class ProcessGroupError(O1NanoError):
    """Of several processes that work together, one has ended."""


def require_choice(name: str, value: str, kind: object) -> None:
    """Raises ``ConfigurationError`` unless a value is one of a Literal's."""
    if value not in get_args(kind):
        raise ConfigurationError(f"{name}={value!r}; expected {', '.join(map(repr, get_args(kind)))}")
