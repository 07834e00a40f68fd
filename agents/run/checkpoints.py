"""The last checkpoints of a run: everything that its rest depends on, so that it can be cut anywhere and resumed.

What belongs into one is the business of those who own it (``state_dict`` of the curriculum, the buffer, the
environments, ...); this module only writes and finds the files.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import o1nano
from o1nano.agents.run.config import TrainConfig
from o1nano.envs.errors import CheckpointError
from o1nano.envs.language.vocab import TOKENS
from o1nano.policies.model_file import check_tokens
from o1nano.policies.plain import restore
from o1nano.policies.serialization import UNREADABLE, read_sealed, reason, write_sealed

KIND, FORMAT = "o1nano run", 2


class Snapshots:
    """``runs/NAME/checkpoints/000001.pt`` and so on, the newest few.

    Args:
        folder: The run's folder.
        keep: How many are kept: a newest one that turns out to be damaged must have one before it.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.name, self.folder, self.keep = folder.resolve().name, folder / "checkpoints", keep
        self.serial = 0

    def save(self, config: TrainConfig, state: dict[str, Any]) -> None:
        """Writes the next checkpoint and removes the oldest."""
        self.serial += 1
        content = {
            "kind": KIND,
            "format": FORMAT,
            "version": o1nano.__version__,
            "tokens": list(TOKENS),
            "name": self.name,
            "config": asdict(config),
            "state": state,
        }
        write_sealed(self.folder / f"{self.serial:06}.pt", content)
        for old in self._files()[: -self.keep]:
            old.unlink()

    def newest(self, quietly: bool = False) -> tuple[TrainConfig, dict[str, Any]]:
        """Returns the configuration and the state of the newest checkpoint that is whole and of this run.

        Those that are passed over are named on standard error, unless quietly.

        Raises:
            CheckpointError: If there is none.
        """
        problems = []
        for path in reversed(self._files()):
            try:
                found = self._read(path)
            except CheckpointError as error:
                problems.append(error)
                continue
            for problem in [] if quietly else problems:
                print(f"passed over: {problem}", file=sys.stderr)
            self.serial = int(path.stem)
            return found
        if problems:
            raise problems[0]
        raise CheckpointError(f"no checkpoint in {str(self.folder)!r}; accepted: a folder of a run, such as runs/NAME")

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.pt") if path.stem.isdecimal())

    def _read(self, path: Path) -> tuple[TrainConfig, dict[str, Any]]:
        content, sealed = read_sealed(path)
        own = {"kind": KIND, "format": FORMAT, "version": o1nano.__version__, "name": self.name}
        try:
            if not sealed:
                raise ValueError("it has no checksum")
            for key, value in own.items():
                if content[key] != value:
                    raise ValueError(f"{key} {content[key]!r}; accepted: {value!r}")
            check_tokens(path, content)
            if not isinstance(content["state"], dict):
                raise TypeError(f"state {content['state']!r}")
            return restore(TrainConfig, content["config"]), content["state"]
        except CheckpointError:
            raise
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} is no checkpoint of this run ({reason(error)}); accepted: its own"
            ) from error
