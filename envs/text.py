"""Problems as rows of text with an exact scorer, for language models and their trainers. NumPy only.

A row is a dict of ``question``, ``answer`` and ``metadata``, as data sets of language models have them. ``score`` pays
an answer 1 where the environment's own verifier accepts it, and 0 otherwise.

    python -m o1nano.envs.text --level multiplication/3 --n 1000 --out rows.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from gymnasium.utils import seeding

from o1nano.envs.caching import bounded_cache
from o1nano.envs.core.config import require_whole
from o1nano.envs.errors import ConfigurationError, O1NanoError, StorageError, require_choice
from o1nano.envs.language.answers import read_answer
from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, Phrasing, Problem, Split, draw, read, read_level
from o1nano.envs.seeding import stream_seed

Row = dict[str, Any]

ANSWER_FORMAT = (
    "Answer exactly. A number: 143 or -19. A division: 139 R 18, or 12 if nothing remains. A comparison: <, > or ==. "
    'To "make" a number: a formula with + - * / and parentheses that uses every given number once, or _ if there is '
    "none. A value that is not in a list: _."
)
"""The forms of answers, for the system prompt of a language model."""


def dataset(
    level: Level | str,
    n: int,
    split: Split = "train",
    seed: int = 0,
    *,
    phrasing: Phrasing = "mixed",
    frames: bool = False,
) -> list[Row]:
    """Draws problems of a level as rows.

    Equal arguments give equal rows, and the first rows of a longer data set are those of a shorter one. A small level
    has few problems, so that some occur more than once.

    Args:
        level: A ``Level``, or its text: ``"multiplication/3"``.
        n: How many rows, at least 1.
        split: ``"train"``, ``"test"`` or ``"all"``: the sides of the environments, by a hash of the content.
        seed: Of the data set.
        phrasing: ``"symbolic"``, ``"words"`` or ``"mixed"``.
        frames: Whether the expert's frames are written into the metadata.

    Returns:
        One dict for each problem:

        * ``question``: what is asked, such as ``what is 98 plus 45 ?``.
        * ``answer``: an answer that is right.
        * ``metadata``: ``family``, ``level``, ``split``, ``index`` (of the row) and ``seed``: the row's own one, with
            which the environments pose the same problem: ``reset(seed=seed, options={"level": level})``, if their
            ``split`` and ``phrasing`` are these too. With ``frames``, a list of frames, the root first: ``tokens``, and
            ``emitted``, which of them an agent writes.

    Raises:
        ConfigurationError: If it is no level, one without a problem on that side, or another value makes no sense.
    """
    return list(_rows(level, n, split, seed, phrasing, frames))


def _rows(level: Level | str, n: int, split: Split, seed: int, phrasing: Phrasing, frames: bool) -> Iterator[Row]:
    """Yields what ``dataset`` returns."""
    drawn_from = level if isinstance(level, Level) else read_level(str(level))
    require_choice("split", split, Split)
    require_choice("phrasing", phrasing, Phrasing)
    for index in range(require_whole("n", n, 1)):
        # From the place of the row alone: a longer data set begins with the same rows.
        own_seed = stream_seed("rows", seed, split, drawn_from, index, bits=32)
        problem = draw(drawn_from, seeding.np_random(own_seed)[0], split, phrasing)
        metadata = {
            "family": drawn_from.family,
            "level": str(drawn_from),
            "split": split,
            "index": index,
            "seed": own_seed,
        }
        if frames:
            metadata["frames"] = expert_frames(problem)
        yield {"question": problem.text, "answer": problem.answer_text, "metadata": metadata}


def expert_frames(problem: Problem) -> list[dict[str, Any]]:
    """Returns the expert's frames of a problem, the root first.

    Args:
        problem: A problem, such as ``read("98+45")``.

    Returns:
        For each frame ``tokens``, a list of texts, and ``emitted``, a list of bools: False for the prompt and for
        answers of subtasks, which the environment writes.
    """
    frames = []
    for frame in demonstrate(problem):
        tokens = [TOKENS[token] for token in frame.tokens]
        frames.append({"tokens": tokens, "emitted": list(frame.emitted)})
    return frames


def score(answer: str | None, row: Mapping[str, Any]) -> float:
    """Pays an answer to a row.

    The verifier of the row's family judges the answer against the question. Nothing else of the row is read, so a row
    whose ``answer`` was changed pays nothing else.

    Args:
        answer: What a language model or a person wrote; None, no answer, is paid nothing. ``language.answers`` says
            which texts give an answer.
        row: A row of ``dataset``, or any other mapping with a ``question``.

    Returns:
        1.0 if the text gives an answer and it is exactly right, otherwise 0.0.

    Raises:
        ConfigurationError: If the row has no question, or the answer is no text.
        ProblemError: If the question is no problem.
    """
    question = row.get("question")
    if not isinstance(question, str):
        raise ConfigurationError(f"question={question!r:.60} in a row; expected a text such as '98+45'")
    if answer is None:
        return 0.0
    if not isinstance(answer, str):
        raise ConfigurationError(f"an answer of type {type(answer).__name__}; expected a text such as '143', or None")

    # A text that gives no answer is paid like a wrong one.
    problem = _read(question)
    given = read_answer(answer)
    return float(given is not None and problem.accepts(given))


@bounded_cache()
def _read(question: str) -> Problem:
    """Returns the problem of a question; the answers of a group are all to the same one."""
    return read(question)


def save(rows: Iterable[Row], path: Path) -> int:
    """Writes rows as JSON lines, or as Parquet.

    Args:
        rows: Rows of ``dataset``.
        path: The file. One that ends with ``.parquet`` is written with pyarrow, which must be installed.

    Returns:
        The number of rows.

    Raises:
        ConfigurationError: If pyarrow is missing.
        StorageError: If the file cannot be written.
    """
    try:
        if path.suffix == ".parquet":
            return _save_parquet(list(rows), path)

        # The first row is drawn before the file is opened: rows that cannot be drawn leave the old file as it was.
        lines = (json.dumps(row) + "\n" for row in rows)
        first = next(lines, "")
        count = int(bool(first))
        with path.open("w", encoding="utf-8") as file:
            file.write(first)
            for line in lines:
                file.write(line)
                count += 1
        return count
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _save_parquet(rows: list[Row], path: Path) -> int:
    try:
        arrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigurationError(f"{path} without pyarrow; expected a file *.jsonl, or pip install pyarrow") from error
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m o1nano.envs.text``.

    Args:
        arguments: The flags; by default those of the program.

    Returns:
        The exit status: 2 after a mistake, of which one line is printed.
    """
    parser = argparse.ArgumentParser(prog="o1nano.envs.text", description="Writes problems as rows of text.")
    parser.add_argument("--level", required=True, help="such as multiplication/3 or expression/1x3")
    parser.add_argument("--n", type=int, default=1000, help="how many rows")
    parser.add_argument("--out", type=Path, required=True, help="a file *.jsonl or *.parquet")
    parser.add_argument("--split", choices=get_args(Split), default="train")
    parser.add_argument("--phrasing", choices=get_args(Phrasing), default="mixed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", action="store_true", help="add the expert's frames to the metadata")
    options = parser.parse_args(arguments)
    rows = _rows(options.level, options.n, options.split, options.seed, options.phrasing, options.frames)
    try:
        print(f"{save(rows, options.out)} rows in {options.out}")
    except O1NanoError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
