"""Transcripts of a run show problems as the run writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from o1nano.agents.run.callbacks import TranscriptCallback
from o1nano.envs.problems.problem import Phrasing
from tests.helpers.runs import small_run


@pytest.mark.parametrize(("phrasing", "in_words"), [("symbolic", False), ("words", True)])
def test_problems_are_written_as_in_the_run(tmp_path: Path, phrasing: Phrasing, in_words: bool) -> None:
    run = small_run(tmp_path / "run", phrasing=phrasing)
    callback = TranscriptCallback(run.curriculum, run.env_config, every=1)
    callback.init_callback(run.model)
    callback.on_rollout_end()

    # The first line of each transcript is its problem: 3+4, or "what is 3 plus 4?".
    for name in ("easy", "frontier"):
        shown = run.logger.name_to_value[f"transcript/{name}"].strip("`\n").split("\n\n")
        problems = [text.splitlines()[0] for text in shown]
        assert len(problems) == len(run.curriculum.frontier)
        assert [any(map(str.isalpha, problem)) for problem in problems] == [in_words] * len(problems)
