"""Search: branches, votes, shared subtasks, budgets, and what does not change with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.core.call_stack import Outcome
from o1nano.envs.core.grammar import Grammar, State
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import DIVIDE, PLUS, THINK
from o1nano.envs.problems.problem import Problem, read
from o1nano.envs.seeding import stream_seed
from o1nano.policies.search.answers import Answer, explore, solve
from o1nano.policies.search.branches import Attempt, Branch, Vote, commuted
from o1nano.policies.search.checking import Calculator, check_claims
from o1nano.policies.search.engine import answer_now_mask
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.sampling import sample_tokens, uniforms
from o1nano.policies.search.search import search
from o1nano.policies.search.self_checks import Claim
from tests.helpers.search import CONFIG, WIDE, Faults, caller, fault, some_problems
from tests.helpers.tiny import ids, tiny_network


def paths_of(options: SearchOptions, paths: int = 3, **kwargs: Any) -> list[list[Answer]]:
    options = replace(options, paths=paths, temperature=1.0)
    return explore(caller(), some_problems(6), CONFIG, options, **kwargs)


def test_a_path_depends_on_seed_problem_and_number_only() -> None:
    whole = paths_of(SearchOptions())
    assert len({(path.text, path.outcome, path.tokens) for group in whole for path in group}) > 6
    assert paths_of(SearchOptions(), batch=2) == whole
    assert [group[:2] for group in whole] == paths_of(SearchOptions(), paths=2)
    assert paths_of(SearchOptions(), seed=1) != whole
    for one, other in zip(whole, paths_of(SearchOptions(), batch=2), strict=True):
        assert [path.log_prob for path in one] == pytest.approx([path.log_prob for path in other], abs=1e-3)


def explore_one(problem: str, paths: int = 1, temperature: float = 0.0, **options: Any) -> list[Answer]:
    return explore(tiny_network(), [read(problem)], WIDE, SearchOptions(paths, temperature, **options))[0]


WAYS_TO_THINK: list[dict[str, object]] = [
    {},
    {"votes": 3},
    {"reuse_subtasks": True},
    {"votes": 3, "reuse_subtasks": True},
]


@pytest.mark.parametrize("thinking", WAYS_TO_THINK)
def test_the_expert_is_right_however_it_thinks(scripted: Faults, thinking: dict[str, object]) -> None:
    for problem in ("98+45", "34*57", "914/64", "(12+7)*5-8/2"):
        (answer,) = explore_one(problem, **thinking)
        assert answer.correct, (problem, answer)


def test_a_thread_of_its_own_is_a_call_in_its_callers_stack(scripted: Faults) -> None:
    scripted.append(fault("=", "0", 0.01))  # so that probabilities are not all 1
    for problem, calls in (("98+45", 1), ("34*57", 4), ("57/8", 3), ("914/64", 6)):
        (plain,), (apart,) = (
            explore(tiny_network(), [read(problem)], WIDE, thinking, keep_frames=True)[0]
            for thinking in (SearchOptions(), SearchOptions(reuse_subtasks=True))
        )
        assert plain.usage.subtasks >= calls
        assert (plain.text, plain.outcome) == (apart.text, apart.outcome)
        for name in ("depth", "longest_context", "subtasks"):
            assert getattr(plain.usage, name) == getattr(apart.usage, name) or apart.usage.reused_subtasks, (
                problem,
                name,
            )
        assert plain.log_prob == pytest.approx(apart.log_prob, rel=1e-5)
        assert plain.log_prob < -0.005
        assert [(frame.depth, frame.tokens) for frame in plain.frames] == [
            (frame.depth, frame.tokens) for frame in apart.frames
        ]


def test_shared_subtasks_are_run_once(scripted: Faults) -> None:
    plain, shared = explore_one("77*77")[0], explore_one("77*77", reuse_subtasks=True)[0]
    assert shared.usage.reused_subtasks > 0
    assert shared.text == plain.text
    assert shared.tokens < plain.tokens


def test_voters_do_not_exchange_the_factors_of_a_product_for_ever(scripted: Faults) -> None:
    """The expert exchanges the factors of 7*77, so a voter on 77*7 would ask for it again."""
    plain, voted = (explore_one("7*77", votes=votes, reuse_subtasks=True)[0] for votes in (1, 2))
    assert voted.text == plain.text == "539"
    assert voted.usage.depth == plain.usage.depth


def test_voters_wait_for_each_others_results(scripted: Faults) -> None:
    plain = explore_one("77*77")[0]
    apart, shared = (explore_one("77*77", votes=3, reuse_subtasks=share)[0] for share in (False, True))
    assert plain.text == apart.text == shared.text
    assert apart.tokens > 3 * plain.tokens  # three voters, each of which votes again on what it calls
    assert shared.tokens < 3 * plain.tokens
    assert shared.usage.reused_subtasks > 4


def test_shared_votes_do_not_depend_on_the_batch(scripted: Faults) -> None:
    scripted.append(fault("2 9 5 </think>", "7", 0.4))
    said = [
        [path.text for path in explore(tiny_network(), [read("77*77")], WIDE, options, batch=batch)[0]]
        for batch in (1, 5, 256)
        for options in [SearchOptions(9, 1.0, votes=3, reuse_subtasks=True)]
    ]
    assert said[0] == said[1] == said[2]
    assert len(set(said[0])) > 1


def test_votes_outvote_a_rare_error(scripted: Faults) -> None:
    # Whoever adds 98 and 45 errs in four cases of ten.
    scripted.append(fault("3 1 4 1 </think>", "7", 0.4))
    alone = explore_one("98+45", paths=60, temperature=1.0)
    voted = explore_one("98+45", paths=60, temperature=1.0, votes=9)
    rate = [np.mean([path.correct for path in paths]) for paths in (alone, voted)]
    assert 0.4 < rate[0] < 0.8
    assert rate[1] > rate[0] + 0.1


def test_a_spent_budget_forces_an_answer() -> None:
    network = tiny_network()
    with th.no_grad():
        network.heads.completion.bias[ids("<think>")] += 50
        network.heads.reasoning.bias[ids("<ok>")] += 50
        network.heads.completion.bias[ids("<eos>")] += 20
    problems = some_problems(4)
    assert {path.outcome for path in solve(network, problems, CONFIG)} == {"frame_full"}
    hasty = [path for (path,) in explore(network, problems, CONFIG, SearchOptions(max_tokens=5))]
    assert {path.outcome for path in hasty} == {"answered"}
    assert max(path.tokens for path in hasty) <= 5 + 4


@pytest.mark.parametrize("thinking", [SearchOptions(max_tokens=8), SearchOptions(max_tokens=8, votes=2)])
def test_rows_whose_paths_have_ended_outlive_any_budget(thinking: SearchOptions) -> None:
    # They go on being stepped; something must be left for them to say.
    groups = paths_of(thinking, paths=4, batch=8)
    assert len({path.tokens for group in groups for path in group}) > 3
    assert {path.outcome for group in groups for path in group} <= {"answered", "self_call", "too_deep", "frame_full"}


def test_a_budget_is_met_in_the_calls_of_a_flat_frame() -> None:
    flat = answer_now_mask(Grammar(calls=False))
    nested = answer_now_mask(Grammar())
    assert flat.any(1).all() and nested.any(1).all()
    assert flat[State.ROOT_CALL : State.TAIL, THINK].any() and not nested[State.ROOT_CALL : State.TAIL, THINK].any()


def test_budgets_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="min_tokens=100; expected at most max_tokens=20"):
        SearchOptions(min_tokens=100, max_tokens=20).validate()


def test_thoughts_last_as_long_as_they_must() -> None:
    network = caller(2)
    brief = solve(network, some_problems(12), CONFIG)
    long = [path for (path,) in explore(network, some_problems(12), CONFIG, SearchOptions(min_tokens=20))]
    thought = [path for path in long if path.outcome == "answered" and path.usage.reasoning_tokens]
    assert all(path.tokens >= 20 for path in thought)
    assert [path.tokens for path in brief] != [path.tokens for path in long]


def voter(answer: str = "", outcome: Outcome = Outcome.RUNNING) -> Branch:
    branch = Branch(b"", 0, Attempt(), lambda _: None)
    branch.answer = bytes(ids(answer))
    branch.outcome = Outcome.ANSWERED if answer else outcome
    return branch


@pytest.mark.parametrize(
    ("votes", "decided", "winner"),
    [
        (["1", "2", "", "", ""], False, "1"),
        (["1", "1", "1", "", ""], True, "1"),
        (["1", "1", "", "", ""], False, "1"),
        (["1", "2", "2"], True, "2"),
        (["1", "2"], True, "1"),
    ],
)
def test_a_vote_is_over_when_nothing_can_change(votes: list[str], decided: bool, winner: str) -> None:
    ballot = Vote(b"", [voter()], [voter(vote) for vote in votes])
    assert ballot.is_decided() == decided
    found = ballot.winner()
    assert found is not None and found.answer == bytes(ids(winner))


def test_a_vote_without_an_answer_has_no_winner() -> None:
    ballot = Vote(b"", [voter()], [voter(outcome=Outcome.FRAME_FULL)] * 2)
    assert ballot.is_decided() and ballot.winner() is None


def test_who_is_waited_for_does_not_wait() -> None:
    asker, one, deeper, stranger = voter(), voter(), voter(), voter()
    inner = Vote(b"", [one], [deeper])
    asker.waiting_for, one.waiting_for = Vote(b"", [asker], [one]), inner
    assert asker.waiting_for.depends_on(one) and asker.waiting_for.depends_on(deeper)
    assert inner.depends_on(deeper)
    assert not inner.depends_on(one) and not asker.waiting_for.depends_on(stranger)


def test_what_somebody_else_waits_for_is_not_given_up() -> None:
    asker, other, one = voter(), voter(), voter()
    asker.waiting_for = other.waiting_for = Vote(b"", [asker, other], [one])
    asker.cancel()
    assert not one.cancelled
    other.cancel()
    assert one.cancelled


def test_who_is_given_up_gives_up_what_it_waits_for() -> None:
    asker, one, deeper = voter(), voter(), voter()
    asker.waiting_for, one.waiting_for = Vote(b"", [asker], [one]), Vote(b"", [one], [deeper])
    asker.cancel()
    assert one.cancelled and deeper.cancelled


@pytest.mark.parametrize(
    ("prompt", "other"),
    [
        ("<subtask> 8 9 + 5 4 =", "<subtask> 5 4 + 8 9 ="),
        ("<subtask> 8 1 * 5 4 =", "<subtask> 5 4 * 8 1 ="),
        ("<subtask> 8 * 5 4 =", "<subtask> 8 * 5 4 ="),
        ("<subtask> 8 - 5 =", "<subtask> 8 - 5 ="),
        ("<subtask> 8 / 5 =", "<subtask> 8 / 5 ="),
        ("<subtask> 8 + 5 + 1 =", "<subtask> 8 + 5 + 1 ="),
        ("<subtask> ( 8 + 5 ) =", "<subtask> ( 8 + 5 ) ="),
        ("<subtask> - 8 + 5 =", "<subtask> - 8 + 5 ="),
    ],
)
def test_only_one_sum_or_product_is_commuted(prompt: str, other: str) -> None:
    assert commuted(bytes(ids(prompt))) == bytes(ids(other))


@pytest.mark.parametrize(
    "how",
    [
        SearchOptions(paths=0),
        SearchOptions(temperature=-1.0),
        SearchOptions(temperature=float("inf")),
        SearchOptions(select="longest"),  # type: ignore[arg-type]
        SearchOptions(paths=10**8),
        SearchOptions(votes=0),
        SearchOptions(max_tokens=-1),
    ],
)
def test_senseless_settings_are_refused(how: SearchOptions) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        search(tiny_network(), [], CONFIG, how)


def test_several_paths_cost_their_sum() -> None:
    network, problems = caller(), some_problems(4)
    explored = explore(network, problems, CONFIG, SearchOptions(paths=5))
    for answer, paths in zip(search(network, problems, CONFIG, SearchOptions(paths=5)), explored, strict=True):
        assert (answer.usage.paths, answer.tokens) == (5, sum(path.tokens for path in paths))
        assert answer.usage.longest_context == max(path.usage.longest_context for path in paths)
        assert answer.text in {path.text for path in paths}


def test_the_checks_are_problems_that_the_model_solves(scripted: Faults) -> None:
    scripted.append(fault("3 1 4 1 </think>", "7", 0.9))  # usually wrong, and the likelier path
    problems = [read("98+45"), read("12+34")]
    answers = {
        select: search(tiny_network(), problems, WIDE, SearchOptions(paths=24, select=select))
        for select in ("majority", "likelihood", "check", "oracle")
    }
    assert [answers[select][0].correct for select in answers] == [False, False, True, True]
    assert all(found[1].correct for found in answers.values())
    assert answers["check"][0].usage.paths < 24  # it stops at the first answer that passes


def test_a_check_that_passes_ends_the_search(scripted: Faults) -> None:
    how = SearchOptions(paths=64, select="check")
    (right,) = search(tiny_network(), [read("98+45")], WIDE, how)
    assert (right.text, right.passed_checks, right.usage.paths) == ("143", True, 1)

    scripted.append(fault("3 1 4 1 </think>", "7", 0.9))  # the greedy path is wrong, one in ten samples is right
    (mended,) = search(tiny_network(), [read("98+45")], WIDE, how)
    assert (mended.text, mended.passed_checks) == ("143", True)
    assert 1 < mended.usage.paths < 64


def test_answers_that_cannot_be_checked_are_voted_on(scripted: Faults) -> None:
    (answer,) = search(tiny_network(), [read("(12+7)*5")], WIDE, SearchOptions(paths=4, select="check"))
    assert (answer.text, answer.passed_checks, answer.usage.paths) == ("95", None, 4)


def test_the_progress_of_an_adaptive_search_ends_at_all_paths(scripted: Faults) -> None:
    done: list[int] = []
    problems = [read("98+45"), read("(12+7)*5")]
    search(tiny_network(), problems, WIDE, SearchOptions(paths=8, select="check"), progress=done.append)
    assert done == sorted(done) and done[-1] == 16


def test_checks_are_charged_to_the_claims_in_turn() -> None:
    claims = [Claim(PLUS, 98, 45, 143), Claim(PLUS, 12, 34, 46)]
    passed, usage = check_claims(Calculator(tiny_network(), WIDE), claims)
    assert len(passed) == 2 and min(each.tokens for each in usage) > 0
    assert (usage[0].paths, usage[0].depth, usage[0].longest_context) == (0, 0, 0)


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6))
def test_random_numbers_depend_on_their_place(stream: int, count: int) -> None:
    one = uniforms(np.array([stream], dtype=np.uint64), np.array([count]))
    among = uniforms(np.array([7, stream, 9], dtype=np.uint64), np.array([1, count, 3]))
    assert 0 <= one[0] < 1 and among[1] == one[0]


def test_random_numbers_are_uniform_and_streams_differ() -> None:
    keys = np.array([stream_seed(0, index, 0) for index in range(400)], dtype=np.uint64)
    drawn = np.stack([uniforms(keys, np.full(400, count)) for count in range(100)])
    share = np.histogram(drawn, bins=10, range=(0, 1))[0] / drawn.size
    assert share == pytest.approx(np.full(10, 0.1), abs=0.006)
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02
    assert len(np.unique(drawn)) == drawn.size


def test_tokens_are_chosen_by_their_probability() -> None:
    probs = np.array([0.0, 0.5, 0.0, 0.3, 0.2, 0.0], dtype=np.float32)
    rows = 20_000
    with np.errstate(divide="ignore"):
        log_probs = np.tile(np.log(probs), (rows, 1))
    drawn = sample_tokens(log_probs, np.ones(rows, dtype=np.float32), (np.arange(rows) + 0.5) / rows)
    assert np.bincount(drawn, minlength=6) / rows == pytest.approx(probs, abs=1e-3)
    edge = sample_tokens(log_probs[:2], np.ones(2, dtype=np.float32), np.array([0.0, np.nextafter(1, 0)]))
    assert edge.tolist() == [1, 4]
    mixed = sample_tokens(log_probs[:2], np.array([0.0, 1.0], dtype=np.float32), np.array([0.99, 0.99]))
    assert mixed.tolist() == [1, 4]


def test_problems_are_answered_in_their_order() -> None:
    problems: list[Problem] = some_problems(5)
    found = search(caller(), problems, CONFIG, SearchOptions(paths=2), batch=3)
    assert [replace(answer, frames=()).problem for answer in found] == problems


def test_claims_whose_checks_cannot_be_posed_fail() -> None:
    claims = [Claim(DIVIDE, 12, 4, result) for result in (-341, int("9" * 50), 0)]
    passed, _ = check_claims(Calculator(tiny_network(), CONFIG), claims)
    assert passed == [0, 0, 0]
