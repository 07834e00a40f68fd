"""What a run has written is read back from its event files, with TensorBoard's own reader."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import Run
from o1nano.agents.run.tensorboard import LAYOUT
from o1nano.envs.problems import FOUR_OPERATIONS
from tests.helpers.runs import small_run
from train_rl import train

pytestmark = pytest.mark.integration

LEVELS = ("addition/1", "multiplication/1")
SCALARS = {
    *("rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate", "time/fps"),
    *("train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/explained_variance", "train/loss"),
    *("train/policy_gradient_loss", "train/value_loss", "train/first_ratio", "train/reference_kl"),
    *("warm_start/loss", "warm_start/value_loss", "warm_start/gradient_norm", "warm_start/accuracy"),
    *("usage/reasoning_tokens", "usage/completion_tokens", "usage/subtask_tokens", "usage/subtasks"),
    *("usage/depth", "usage/revisions", "usage/longest_context", "usage/illegal_token"),
    *("reward/true", "reward/frame", "reward/groups_without_variance"),
    *("critic/explained_variance_reasoning", "critic/explained_variance_completion"),
    *("time/rollout_seconds", "time/update_seconds", "time/environment_seconds", "time/seconds_of_warm_start"),
    *("curriculum/addition", "curriculum/division", "curriculum_weight/addition/1", "solved/addition"),
    *("evaluation/average", "held_out/addition/1", "held_out/division/1", "final/average_after"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run from start to end."""
    run = small_run(tmp_path_factory.mktemp("tensorboard") / "run", iterations=5)
    train(run)
    return run


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    accumulator = EventAccumulator(str(run.folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_scalars_are_grouped_and_there(events: EventAccumulator) -> None:
    tags = set(events.Tags()["scalars"])
    assert tags >= SCALARS


def test_one_axis_of_tokens_from_the_warm_start_to_the_end(run: Run, events: EventAccumulator) -> None:
    warm_start, ppo = run.results["warm_start"]["tokens"], run.results["ppo"]["tokens"]
    assert [scalar.step for scalar in events.Scalars("warm_start/loss")][-1] == warm_start
    steps = [scalar.step for scalar in events.Scalars("rollout/ep_rew_mean")]
    assert steps[0] > warm_start and steps[-1] == warm_start + ppo
    assert [scalar.step for scalar in events.Scalars("evaluation/average")] == [warm_start, warm_start + ppo]
    for tag in events.Tags()["scalars"]:
        steps = [scalar.step for scalar in events.Scalars(tag)]
        assert steps == sorted(steps)


def test_first_ratios_are_one_and_weights_sum_to_one(events: EventAccumulator) -> None:
    assert events.Scalars("train/first_ratio")[0].value == pytest.approx(1.0, abs=1e-4)
    weights = [tag for tag in events.Tags()["scalars"] if tag.startswith("curriculum_weight/")]
    assert sum(events.Scalars(tag)[0].value for tag in weights) == pytest.approx(1.0, abs=1e-5)


def test_transcripts_are_readable_trees(events: EventAccumulator) -> None:
    for name in ("easy", "frontier", "failed"):
        # A model that has hardly learned may leave all problems without an answer, and so without a tree of frames.
        lines: list[str] = []
        for text in events.Tensors(f"transcript/{name}/text_summary"):
            shown = text.tensor_proto.string_val[0].decode().splitlines()
            assert shown[0] == "```" or shown == ["none"]
            lines += shown
        assert any(line.startswith(("<problem>", "no answer")) for line in lines)
        assert any(line.endswith("tokens)") for line in lines)
    (table,) = events.Tensors("config/text_summary")
    assert "| ppo.n_envs | 6 |" in table.tensor_proto.string_val[0].decode()


@pytest.mark.parametrize(
    ("tag", "count"),
    [
        ("evaluation/accuracy_by_digits", 2),
        ("evaluation/tokens_of_answers", 2),
        ("evaluation/learning_curve", 1),
    ],
)
def test_figures_are_pictures(events: EventAccumulator, tag: str, count: int) -> None:
    images = events.Images(tag)
    assert len(images) == count
    picture = Image.open(io.BytesIO(images[0].encoded_image_string))
    assert picture.width >= 300 and len(set(picture.convert("L").getdata())) > 10


def test_hyperparameters_stand_beside_the_final_figures(run: Run, events: EventAccumulator) -> None:
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["ppo.n_envs"].number_value == 6 and "extra_levels" in start.hparams
    content = events.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    metrics = [info.name.tag for info in metadata.parse_experiment_plugin_data(content).metric_infos]
    assert set(metrics) == {"final/average_before", "final/average_after"} <= set(events.Tags()["scalars"])


def test_the_layout_of_custom_scalars_names_what_is_there(events: EventAccumulator) -> None:
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    named = [tag for charts in LAYOUT.values() for _, tags in charts.values() for tag in tags]
    # Those of a size are in folders of their own: see test_run_logger.
    of_a_size = {f"accuracy/{family}" for family in FOUR_OPERATIONS}
    assert {tag for tag in named if "*" not in tag} - of_a_size <= set(events.Tags()["scalars"])
    assert of_a_size <= set(named)


def test_the_run_says_what_it_depended_on(run: Run) -> None:
    content = json.loads((run.folder / "config.json").read_text())
    assert content["config"]["seed"] == 0
    (session,) = content["sessions"]
    assert {"commit", "cpu", "machine", "torch", "numpy", "gymnasium", "python", "command"} <= set(session)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|none: not a checkout|unknown", session["commit"])
    assert set(json.loads((run.folder / "times.json").read_text())) >= {"warm_start", "before", "ppo", "after"}


# Progress.


def shown(terminal: bool, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, quiet=quiet, highlight=False)
    display = Display(console=console)
    display.begin("warm start", 10, 4)
    display.update(7, "solved 0.50")
    display.sample("1+1\n  <problem> 1 + 1 =")
    display.update(10)
    display.begin("PPO", 3)
    display.end()
    return out.getvalue()


def test_without_a_terminal_progress_is_plain_lines() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 2 and "\x1b" not in "".join(lines)
    assert lines[0].startswith("warm start 10/10, ") and lines[0].endswith("/s, solved 0.50")
    assert lines[1].startswith("PPO 0/3, ")


def test_in_a_terminal_progress_is_one_live_display() -> None:
    text = shown(terminal=True)
    for part in ("warm start", "10/10", "solved 0.50", "PPO", "0/3", "\x1b["):
        assert part in text


def test_quiet_is_quiet(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert shown(terminal=False, quiet=True) == ""
    assert run.display.console.quiet
    run.display.print("something")
    assert capsys.readouterr().out == ""
