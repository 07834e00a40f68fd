"""How plain loops are compiled: by numba, on the first call, and cached on disk for the next process.

Loops compile to one pass over memory where array libraries need one pass for each operation.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).resolve().parents[1]

# Sums may be reordered and vectorised. Infinities keep their meaning: an illegal token has log-probability -inf.
_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

# Without the wrapper for callers in C: there are none here.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy", "no_cfunc_wrapper": True}

INLINED: dict[str, Any] = {**_OPTIONS, "forceinline": True, "no_cpython_wrapper": True}
"""Options of ``inlined`` functions, for ``numba.extending.overload``."""


def compiled(function: Function) -> Function:
    """Compiles a function that Python calls, to code that runs without the interpreter's lock.

    Functions that it calls must be ``inlined``. A function that both Python and compiled functions call is
    ``inlined``, and Python calls ``compiled(function)``.

    The machine code is cached next to the source or, if that is read-only, in the user's cache folder
    (``NUMBA_CACHE_DIR`` names another one). If no folder can be written to, each process compiles for itself.

    Args:
        function: A function of arrays and numbers. Divisions by zero are not checked for.

    Returns:
        The compiled function.
    """
    compiled_function = njit(function, **_OPTIONS)
    # It is raised if there is no folder to write to.
    with suppress(RuntimeError):
        compiled_function._cache = _SourcesCache(function)
    return cast(Function, compiled_function)


class _SourcesCache(FunctionCache):
    """numba's cache of a function, which notices changes of all files with compiled functions.

    numba's own looks at the function's file only. But its machine code has that of the ``inlined`` functions of other
    files in it, and after an update of the package the old one would run.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        name = f"{self._impl.filename_base}-{sources_digest()}"
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = IndexDataCacheFile(self._cache_path, name, stamp)  # type: ignore[no-untyped-call]


@cache
def sources_digest(folder: Path = _PACKAGE) -> str:
    """Returns a hash of all files that have compiled functions, for the names of cached files.

    Args:
        folder: Where the files are.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        source = path.read_bytes()
        # This file has the options of all.
        if b"network.compiled import" in source or path.name == "compiled.py":
            digest.update(source)
    return digest.hexdigest()[:12]


def inlined(function: Function) -> Function:
    """Makes a function part of every compiled function that calls it; from Python it is a plain function.

    Its code is copied to where it is called. Otherwise the linker would take whichever copy of it was loaded first.
    Copies differ in rounding, and a resumed run would not be the same to the last bit.

    It gets none of the wrappers that callers from outside need. With them its code would be optimised three times.

    Args:
        function: A function of arrays and numbers. Divisions by zero are not checked for.

    Returns:
        The function itself.
    """
    return register_jitable(**INLINED)(function)


class _Notice(event.Listener):
    """Prints once that loops are being compiled: the user waits several seconds."""

    printed = False

    def on_start(self, event: event.Event) -> None:
        """Called by numba before it compiles a function that is not in its cache."""
        if not self.printed:
            self.printed = True
            print("compiling loops; this happens once and takes some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Called by numba once it has compiled a function."""


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]
