"""What both scripts share: flags from a dataclass, and one line for every mistake of the user's."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from o1nano.envs.errors import ConfigurationError, O1NanoError

T = TypeVar("T")
_MOST = 10**6  # more is a slip of the keyboard


def parse(kind: type[T], description: str | None, args: Sequence[str] | None = None) -> T:
    """Reads the flags: those of the program, unless others are given.

    Raises:
        ConfigurationError: If they make no sense: one line of what tyro draws as a box.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, description=description, args=args)
    except SystemExit as ended:
        if not ended.code:
            raise
        raise ConfigurationError(_one_line(said.getvalue())) from None


def check_least(options: object, **least: int) -> None:
    """Checks whole numbers among options.

    Args:
        options: What ``parse`` returned.
        least: The smallest value of each; one with several values must have one.

    Raises:
        ConfigurationError: If one is smaller, or larger than a million.
    """
    for name, low in least.items():
        given = getattr(options, name)
        values = given if isinstance(given, tuple) else (given,)
        if not values or not all(low <= value <= _MOST for value in values):
            flag = f"--{name.replace('_', '-')} {' '.join(map(str, values))}".rstrip()
            raise ConfigurationError(f"{flag}; accepted: {low} to {_MOST}")


def _one_line(box: str) -> str:
    """Takes what is wrong out of a box: the first section below its title."""
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).strip(" │|╭╮╰╯") for row in box.splitlines()]
    sections = re.split(r"^[-─]{3,}$", "\n".join(rows[1:]), flags=re.MULTILINE)
    body = next((section for section in sections if section.strip()), "the flags make no sense")
    return f"{' '.join(body.split())}; accepted: see --help"


def guarded(program: str, main: Callable[[], int | None]) -> int:
    """Runs a program; None is a success.

    A mistake of its user's, or a machine without room, becomes one line and exit status 2; Ctrl-C one line and 130.
    """
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # text that is no text is no reason to fail
    try:
        return main() or 0
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130
    except O1NanoError as error:
        problem = str(error)
    except (OSError, MemoryError, RuntimeError) as error:
        problem = _no_room(error)
        if not problem:
            raise
    print(f"{program}: {' '.join(problem.split())}", file=sys.stderr)
    return 2


def _no_room(error: Exception) -> str:
    """Says what the machine lacks; nothing if the error is another one."""
    if isinstance(error, OSError):
        place = f" at {error.filename}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{place}; accepted: a place that can be read and written"
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "not enough memory; accepted: a smaller network, batch or frame_length"
    return ""
