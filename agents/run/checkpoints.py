"""The last checkpoints of a run, from which it continues exactly.

What a checkpoint holds is up to the parts of a run (``state_dict`` of the curriculum, the buffer, the environments,
...). This module writes and finds the files.
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
from o1nano.policies.serialization import UNREADABLE, dataclass_from_dict, read_sealed, short_reason, write_sealed

KIND = "o1nano run"
FORMAT = 2


class Checkpoints:
    """The files ``runs/NAME/checkpoints/000001.pt`` and so on, of which the newest few are kept.

    Args:
        folder: The run's folder.
        keep: How many are kept. If the newest is damaged, the one before it is used.

    Attributes:
        serial: Number of the newest checkpoint, 0 before the first.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder / "checkpoints"
        self.keep = keep
        self.serial = 0

    def save(self, config: TrainConfig, state: dict[str, Any]) -> None:
        """Writes the next checkpoint and removes the oldest.

        Args:
            config: The run's.
            state: What the rest of the run depends on: plain containers, tensors and arrays.
        """
        # After a resume this may be the number of a damaged checkpoint, which is replaced.
        self.serial += 1
        content = {
            "kind": KIND,
            "format": FORMAT,
            "version": o1nano.__version__,
            "tokens": list(TOKENS),
            "config": asdict(config),
            "state": state,
        }
        write_sealed(self.folder / f"{self.serial:06}.pt", content)

        # Only after the new one is whole.
        for old in self._files()[: -self.keep]:
            old.unlink()

    def newest(self, quietly: bool = False) -> tuple[TrainConfig, dict[str, Any]]:
        """Reads the newest checkpoint that is whole and from this version. Skipped ones are named on standard error.

        Args:
            quietly: Whether to skip without a word.

        Returns:
            The configuration and the state of the run.

        Raises:
            CheckpointError: If no checkpoint was saved.
        """
        # Damage is not reported at once: if no checkpoint is left, the newest one's is the error.
        problems = []
        for path in reversed(self._files()):
            try:
                found = self._read(path)
            except CheckpointError as error:
                problems.append(error)
                continue
            if not quietly:
                for problem in problems:
                    print(f"skipped: {problem}", file=sys.stderr)
            self.serial = _serial(path)
            return found

        if problems:
            raise problems[0]
        raise CheckpointError(f"no checkpoint in {str(self.folder)!r}; expected a folder of a run, such as runs/NAME")

    def _files(self) -> list[Path]:
        """Returns the checkpoints from the oldest to the newest."""
        # By number, since as text 1000000 comes before 999999.
        paths = [path for path in self.folder.glob("*.pt") if path.stem.isdecimal()]
        return sorted(paths, key=_serial)

    def _read(self, path: Path) -> tuple[TrainConfig, dict[str, Any]]:
        content, sealed = read_sealed(path)

        # A state continues exactly only in the version that wrote it.
        own = {"kind": KIND, "format": FORMAT, "version": o1nano.__version__}
        try:
            if not sealed:
                raise ValueError("it has no checksum")
            for key, value in own.items():
                if content[key] != value:
                    raise ValueError(f"{key} {content[key]!r}; expected {value!r}")
            check_tokens(path, content)

            if not isinstance(content["state"], dict):
                raise TypeError(f"state {content['state']!r}")
            return dataclass_from_dict(TrainConfig, content["config"]), content["state"]
        except CheckpointError:
            raise
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} is not a checkpoint of this version ({short_reason(error)}); expected one from "
                f"o1nano {o1nano.__version__}"
            ) from error


def _serial(path: Path) -> int:
    return int(path.stem)
