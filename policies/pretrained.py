"""The models that come with the package, in a checkout and in an installation."""

from __future__ import annotations

from pathlib import Path

import o1nano


def shipped_model(name: str = "o1_model.pth") -> Path:
    """Returns the path of a shipped model, for ``Solver.load`` and ``--init-from``.

    Args:
        name: ``"o1_model.pth"`` (all tasks), ``"large_numbers.pth"`` (large products) or ``"recall.pth"`` (long
            contexts).

    Returns:
        The path of the file. There is no file if somebody has removed it.
    """
    # An installation has the folder inside the package, a checkout beside it. The package's path names both places.
    found = [Path(folder, "pretrained", name) for folder in o1nano.__path__]
    return next((path for path in found if path.is_file()), found[-1])
