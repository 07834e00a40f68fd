"""What is imitated: the expert's own tokens, never injected ones, never a planted error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from o1nano.agents.evaluation.held_out import standard_levels
from o1nano.agents.learning.demonstrations import DemonstrationStream, choose_frames, corrupted
from o1nano.agents.learning.packing import TrainingFrame
from o1nano.envs.core.curriculum import UniformLevels
from o1nano.envs.language.vocab import (
    END_CALL,
    END_THINK,
    EOS,
    EQUALS,
    NINE,
    NOTHING,
    REVISE,
    THINK,
    WRONG,
    ZERO,
    spell,
)
from o1nano.envs.problems.expert import Frame, demonstrate
from o1nano.envs.problems.problem import Level, draw, read, sizes
from o1nano.envs.problems.verifier import frame_answer
from tests.helpers.expressions import expert_script
from tests.helpers.tiny import ids


def demonstrations(
    families: tuple[str, ...] = ("addition", "subtraction"),
    mistakes: float = 0.0,
    corruption: float = 0.0,
    batches: int = 4,
) -> list[TrainingFrame]:
    """Some batches of frames in one list."""
    shown, rng = UniformLevels(sizes(families, (1, 3))), np.random.default_rng(0)
    stream = DemonstrationStream(shown, rng, 512, mistakes, corruption, pool=2)
    return [frame for batch in islice(stream, batches) for frame in batch]


def test_a_second_iterator_goes_on_where_the_first_has_stopped() -> None:
    def texts(batches: Iterator[list[TrainingFrame]], n: int) -> list[str]:
        return [spell(frame.tokens) for batch in islice(batches, n) for frame in batch]

    def stream() -> DemonstrationStream:
        return DemonstrationStream(UniformLevels(sizes(("addition",), (1, 3))), np.random.default_rng(0), 256, pool=2)

    cut = stream()
    assert texts(iter(cut), 3) + texts(iter(cut), 4) == texts(iter(stream()), 7)


def test_a_short_solution_is_shown_whole() -> None:
    rng = np.random.default_rng(0)
    solution = demonstrate(read("12345/67"), rng)
    assert choose_frames(solution, rng) is solution


def finds_something(frame: Frame) -> bool:
    return frame.tokens[-2] != NOTHING


def test_of_a_search_long_frames_and_those_that_find_something_are_shown_more_often() -> None:
    rng = np.random.default_rng(0)
    all_frames: list[Frame] = []
    shown: list[Frame] = []
    for _ in range(30):
        solution = demonstrate(draw(Level("game_of_24", 1), rng, "all"), rng)
        frames = choose_frames(solution, rng)
        assert len(frames) == min(36, len(solution)) == len({id(frame) for frame in frames})
        all_frames += solution
        shown += frames

    def searches(frames: list[Frame]) -> list[Frame]:
        return [frame for frame in frames if spell(frame.tokens).startswith("<subtask> make")]

    found_of_all = np.mean(list(map(finds_something, searches(all_frames))))
    assert np.mean(list(map(finds_something, searches(shown)))) > 1.5 * found_of_all
    assert np.mean([len(frame.tokens) for frame in shown]) > 1.2 * np.mean([len(frame.tokens) for frame in all_frames])


def prompt_of(frame: TrainingFrame) -> list[int]:
    tokens = frame.tokens.tolist()
    return tokens[: tokens.index(EQUALS) + 1]


def test_whole_frames_are_imitated_and_valued_as_right() -> None:
    for frame in demonstrations():
        assert frame.imitate.all()
        assert (frame.returns == 1).all()
        assert len(frame.positions) == len(frame.imitate) == len(frame.returns)


def test_targets_are_the_tokens_that_the_expert_emits() -> None:
    for frame in demonstrations(("multiplication", "division")):
        script = expert_script(prompt_of(frame))
        assert script.tokens == frame.tokens.tolist()
        targets = set((frame.positions + 1).tolist())
        assert targets == {index for index, emitted in enumerate(script.emitted) if emitted}
        assert min(targets) == len(prompt_of(frame))


def test_answers_that_were_injected_are_not_targets() -> None:
    frames = [frame for frame in demonstrations(("division",)) if END_CALL in frame.tokens]
    assert frames
    for frame in frames:
        called = np.flatnonzero(frame.tokens == END_CALL)
        assert not set((called + 1).tolist()) & set((frame.positions + 1).tolist())


def test_every_answer_is_right() -> None:
    for frame in demonstrations(("addition", "subtraction", "multiplication", "division")):
        tokens = bytes(frame.tokens)
        assert tokens[-1] == EOS
        assert tokens[tokens.rindex(END_THINK) + 1 : -1] == frame_answer(bytes(prompt_of(frame)))


def test_corrupted_frames_end_after_one_wrong_digit() -> None:
    cut_off = [frame for frame in demonstrations(corruption=1.0) if not frame.imitate.all()]
    assert len(cut_off) > 20
    for frame in cut_off:
        script = expert_script(prompt_of(frame))
        length = len(frame.tokens)
        differing = np.flatnonzero(frame.tokens != script.tokens[:length])
        at = length - 2
        assert differing.tolist() == [at] and script.emitted[at]
        assert ZERO <= frame.tokens[at] <= NINE
        # All is right before it. After it there is one position, whose value is 0 and whose token is not imitated.
        assert frame.positions[-1] == at
        assert frame.returns.tolist() == [1.0] * (len(frame.returns) - 1) + [0.0]
        assert frame.imitate.tolist() == [True] * (len(frame.imitate) - 2) + [False, False]


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_share_of_corrupted_frames(rate: float) -> None:
    frames = demonstrations(corruption=rate, batches=12)
    share = sum(not frame.imitate.all() for frame in frames) / len(frames)
    assert share == pytest.approx(rate, abs=0.08)


def test_mistakes_are_rejected_and_revised() -> None:
    frames = [frame for frame in demonstrations(("division",), mistakes=0.7, batches=12) if REVISE in frame.tokens]
    guesses = []
    for frame in frames:
        tokens = frame.tokens.tolist()
        assert all(tokens[at - 1] == WRONG for at in np.flatnonzero(frame.tokens == REVISE))
        guesses.append([tokens[at + 1] for at in np.flatnonzero(np.isin(frame.tokens, (THINK, REVISE)))])
        assert bytes(tokens[tokens.index(END_THINK) + 1 : -1]) == frame_answer(bytes(prompt_of(frame)))
        wrong_on_purpose = frame.tokens[frame.positions[~frame.imitate] + 1].tolist()
        assert wrong_on_purpose == guesses[-1][:-1]  # wrong guesses are there to be repaired, not to be imitated
    # With right second guesses only, models learn to accept the second one whatever its remainder is.
    assert {len(tried) for tried in guesses} == {2, 3, 4}


def test_a_guess_agrees_with_what_the_guesses_before_it_have_shown() -> None:
    for seed in range(50):
        tokens = expert_script(ids("<subtask> 3 4 \\ 8 ="), np.random.default_rng(seed), mistake_rate=1.0).tokens
        guesses = [tokens[at + 1] - ZERO for at, token in enumerate(tokens) if token in (THINK, REVISE)]
        assert guesses[-1] == 5
        for at, wrong in enumerate(guesses[:-1]):
            assert all((later > wrong) == (wrong < 5) for later in guesses[at + 1 :])


def test_without_mistakes_nothing_is_revised() -> None:
    assert not any(REVISE in frame.tokens for frame in demonstrations(("division",)))


def test_batches_are_sorted_and_have_at_least_the_size_asked_for() -> None:
    stream = DemonstrationStream(UniformLevels(sizes(("addition",), (1, 3))), np.random.default_rng(0), 256, pool=2)
    for batch in islice(stream, 5):
        lengths = [len(frame.tokens) for frame in batch]
        assert lengths == sorted(lengths)
        assert sum(lengths) >= 256 - 64


def test_the_same_generator_gives_the_same_demonstrations() -> None:
    one, other = demonstrations(("division",), 0.5, 0.5), demonstrations(("division",), 0.5, 0.5)
    assert [bytes(frame.tokens) for frame in one] == [bytes(frame.tokens) for frame in other]
    assert len({bytes(frame.tokens) for frame in one}) > 20


def test_a_frame_without_digits_to_corrupt_stays_whole() -> None:
    tokens = np.array(ids("<subtask> 1 + 1 = <think> <ok>"), dtype=np.uint8)
    frame = TrainingFrame(tokens, np.array([4, 5]), imitate=np.ones(2, bool), returns=np.ones(2, np.float32))
    assert corrupted(frame, np.random.default_rng(0)) is frame


@pytest.mark.parametrize(("product_digits", "longest"), [(2, 3), (3, 5)])
def test_operands_of_demonstrated_subtasks(product_digits: int, longest: int) -> None:
    shown = UniformLevels(standard_levels(3, product_digits))
    stream = DemonstrationStream(shown, np.random.default_rng(0), 4096, mistake_rate=0.4)
    prompts = [spell(prompt_of(frame)) for batch in islice(stream, 8) for frame in batch]
    numbers = [number.replace(" ", "") for prompt in prompts for number in re.findall(r"\d(?: \d)*", prompt)]
    assert max(map(len, numbers)) == longest
