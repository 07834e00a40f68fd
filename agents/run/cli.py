"""Shared by the scripts: flags from a dataclass, one line for a user's mistake, and output that may be closed."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from o1nano.envs.errors import ConfigurationError, O1NanoError

T = TypeVar("T")
_MAX_COUNT = 10**6  # a larger number is a typing error
_READER_GONE = {errno.EPIPE, errno.EIO}  # a closed pipe, a closed terminal


def program_name(script: str, command: str) -> str:
    """Returns the name under which the user has started this program, for messages.

    Args:
        script: Its file in a checkout, such as ``train_rl.py``.
        command: Its command in an installation, such as ``o1nano-train``.
    """
    # On Windows the command ends with .exe.
    return command if Path(sys.argv[0]).stem == command else script


def parse(kind: type[T], description: str | None, args: Sequence[str] | None = None) -> T:
    """Reads the flags.

    Args:
        kind: A dataclass. Each field is a flag.
        description: What ``--help`` says first.
        args: The flags. By default those of the program.

    Raises:
        SystemExit: With status 2 if they make no sense (tyro explains it on standard error), with 0 after ``--help``.
    """
    return tyro.cli(kind, description=description, args=args)


def check_least(options: object, **least: int) -> None:
    """Checks whole numbers among options.

    Args:
        options: What ``parse`` returned.
        least: The smallest value of each. A flag with several values must have at least one.

    Raises:
        ConfigurationError: If one is smaller, or larger than a million.
    """
    for name, low in least.items():
        given = getattr(options, name)
        values = given if isinstance(given, tuple) else (given,)
        is_valid = values and all(low <= value <= _MAX_COUNT for value in values)
        if not is_valid:
            flag = f"--{name.replace('_', '-')} {' '.join(map(str, values))}".rstrip()
            raise ConfigurationError(f"{flag}; expected {low} to {_MAX_COUNT}")


def guarded(program: str, main: Callable[[], int | None], needs_output: bool = True) -> int:
    """Runs a program and returns its exit status.

    A user's mistake, or a machine without memory or disk space, becomes one line and status 2. Ctrl-C becomes one line
    and status 130. Standard output and standard error become silent once their reader is gone, as in
    ``program | head``.

    Args:
        program: Its name, for these lines.
        main: The program. It returns an exit status; None means success.
        needs_output: Whether its output is its result. If not, output that cannot be written for another reason, such
            as a full disk, becomes silent too.
    """
    _prepare_streams(needs_output)
    # What becomes one line is what the user can change. Anything else is a fault of the program.
    try:
        status = main() or 0
        # A full disk must be noticed here, not when the interpreter exits.
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130
    except O1NanoError as error:
        problem = str(error)
    except (OSError, MemoryError, RuntimeError) as error:
        problem = _describe_lack(error)
        # Anything else is a fault of the program and needs its traceback.
        if not problem:
            raise

    print(f"{program}: {' '.join(problem.split())}", file=sys.stderr)
    return 2


class _Output(io.TextIOWrapper):
    """A standard stream that becomes silent when it cannot be written.

    Args:
        stream: The stream that it replaces.
        needed: Whether only a missing reader makes it silent. Other errors are raised.
    """

    def __init__(self, stream: io.TextIOWrapper, needed: bool) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",  # characters that the terminal does not know are no reason to fail
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self.needed = needed

    def write(self, text: str) -> int:
        """Writes text, or nothing if the stream is silent."""
        # Errors can come up here or, if the text is buffered, at a later flush.
        try:
            return super().write(text)
        except OSError as error:
            self._silence(error)
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered, or drops it if the stream is silent."""
        try:
            super().flush()
        except OSError as error:
            self._silence(error)

    def _silence(self, error: OSError) -> None:
        # The descriptor stays open and leads nowhere. Otherwise another file could take its number, and the rest of the
        # buffer would fail again.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)
        if self.needed and error.errno not in _READER_GONE:
            raise error


def _prepare_streams(needs_output: bool) -> None:
    """Replaces the standard streams of a program. Those of a test or of a notebook stay."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the program began
            setattr(sys, name, open(os.devnull, "w"))
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _Output(stream, needs_output and name == "stdout"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _describe_lack(error: Exception) -> str:
    """Returns what the machine lacks; nothing if the error has another cause."""
    if isinstance(error, OSError):
        place = f" at {error.filename}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{place}; expected a place that can be read and written"
    # PyTorch raises a RuntimeError, with one text on a CPU and another on a GPU.
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return "not enough memory; expected a smaller network, batch or frame_length"
    return ""
