"""What people see: text, the live terminal and pictures, and a real video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo

import o1nano
from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.errors import RenderModeError
from o1nano.envs.language.vocab import ID
from o1nano.envs.render import COLOURS, SIZE, draw_picture, token_roles
from tests.helpers.tiny import ids

assert o1nano.__version__  # importing the package registers the ids
ALL_IDS = sorted(name for name in gym.registry if name.startswith("o1nano/"))


def in_a_call(mode: str) -> Any:
    """An environment whose agent has just asked for 9 + 8."""
    env = gym.make("o1nano/Addition-v0", render_mode=mode)
    env.reset(seed=0, options={"problem": "9+8"})
    for token in ("<think>", "<call>", "9", "+", "8", "</call>"):
        env.step(np.int64(ID[token]))
    return env


def test_ansi_shows_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    picture = "<problem> 9 + 8 = <think> <call> 9 + 8 </call>\n  <subtask> 9 + 8 ="
    assert in_a_call("ansi").render() == picture
    assert capsys.readouterr().out == ""


def test_human_shows_the_stack_live_and_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    env = in_a_call("human")
    env.close()
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "<problem> 9 + 8 = <think> <call> 9 + 8 </call>" in lines
    assert "<subtask> 9 + 8 =" in lines
    env.close()
    assert capsys.readouterr().out == ""


def test_every_token_is_drawn_as_what_it_is() -> None:
    frame = ids("<problem> 9 8 + 4 5 = <think> <call> 8 9 + 5 4 </call> 3 4 1 </think> 1 4 3 <eos>")
    kinds = ["prompt"] * 7 + ["completion", "reasoning"] + ["subtask"] * 6 + ["returned"] * 3 + ["reasoning"]
    assert [kind for _, kind in token_roles(frame)] == kinds + ["completion"] * 4
    # A digit that the agent writes after a step is its own.
    assert token_roles(ids("<subtask> 7 * 6 = <think> <call> 7 * 6 </call> 2 4 ; 3"))[-1] == ("3", "reasoning")
    assert token_roles([*frame, 0, 0]) == token_roles(frame)


def test_a_flat_frame_is_written_by_the_agent_alone() -> None:
    frame = "<problem> 1 2 * 3 = <think> <call> 2 1 * 3 <think> 6 0 3 0 </call> 6 3 </think> 3 6 <eos>"
    kinds = ["prompt"] * 6 + ["completion", "reasoning"] + ["subtask"] * 5 + ["reasoning"] * 8 + ["completion"] * 3
    assert [kind for _, kind in token_roles(ids(frame))] == kinds


def test_formulas_and_comparisons_come_back_whole() -> None:
    for answer in ("( 4 + 3 ) * 2", "1 2 < 3", "1 == 1", "_", "- 4", "3 R 1"):
        frame = f"<subtask> make 1 = <think> <call> 2 1 * 2 </call> {answer} <call>"
        kinds = [kind for _, kind in token_roles(ids(frame))]
        assert kinds[11:] == ["returned"] * len(answer.split()) + ["reasoning"]


def test_pictures_differ_where_the_stack_does() -> None:
    env = in_a_call("rgb_array")
    picture = env.render()
    assert picture.shape == (SIZE[1], SIZE[0], 3) and picture.dtype == np.uint8
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert all(tuple(bytes.fromhex(COLOURS[kind][1:])) in colours for kind in ("prompt", "reasoning", "subtask"))
    assert tuple(bytes.fromhex(COLOURS["returned"][1:])) not in colours
    env.step(np.int64(ID["<think>"]))
    assert (env.render() != picture).any()


def test_a_tall_stack_shows_its_top() -> None:
    frame = ids("<subtask> 9 + 8 = <think>")
    top = ids("<subtask> 7 * 6 = <think>")
    assert draw_picture([frame] * 40).shape == draw_picture([frame]).shape
    assert (draw_picture([frame] * 40 + [top]) != draw_picture([frame] * 41)).any()


@pytest.mark.parametrize("name", ALL_IDS)
def test_every_id_renders_in_every_mode(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ArithmeticEnv.metadata["render_modes"]:
        env = gym.make(name, render_mode=mode)
        env.reset(seed=0)
        shown = env.render()
        assert (shown is None) == (mode == "human")
        env.close()
    assert "<problem>" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the video library
def test_a_real_video_is_recorded(tmp_path: Path) -> None:
    env = RecordVideo(gym.make("o1nano/Addition-v0", render_mode="rgb_array", digits=1), str(tmp_path / "videos"))
    expert = ExpertPolicy(env)
    observation, _ = env.reset(seed=0)
    terminated = False
    while not terminated:
        observation, _, terminated, _, _ = env.step(expert.predict(observation[None])[0])
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert video.stat().st_size > 1000


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RenderModeError, match=r"render_mode='rgb'; expected .*'rgb_array'"):
        ArithmeticEnv(render_mode="rgb")
