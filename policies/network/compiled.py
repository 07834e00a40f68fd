"""How plain loops are compiled: by numba, when they are first called, and kept on disk for the next process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered and vectorised. Infinities keep their meaning: an illegal token has log-probability -inf.
_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

# Every function carries the code of those that it calls. Otherwise the linker takes whichever copy of them was loaded
# first, copies differ in rounding, and a resumed run would not be the same to the last bit.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy", "forceinline": True}


def compiled(function: Function) -> Function:
    """Compiles a function, without the lock of the interpreter.

    The machine code is kept next to the source or, where that is read-only, in the user's cache folder
    (``NUMBA_CACHE_DIR`` names another one). Where no folder can be written, each process compiles for itself.

    The cache notices a change of the function's own file only. After a change of a function that others call, or of
    the options here, delete ``*.nbi`` and ``*.nbc``.

    Args:
        function: Arguments are arrays and numbers; divisions by zero are not looked for.
    """
    try:
        compiled_function = njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # numba found no folder to write to
        compiled_function = njit(function, **_OPTIONS)
    return cast(Function, compiled_function)


class _Notice(event.Listener):
    """Says once that something is being compiled: the user waits several seconds."""

    said = False

    def on_start(self, event: event.Event) -> None:
        """Called by numba before it compiles a function that is not in its cache."""
        if not self.said:
            self.said = True
            print("compiling loops; this happens once and takes some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Called by numba once it has compiled a function."""


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]
