"""What an answer costs, and how costs add up."""

from __future__ import annotations

from o1nano.envs.core.usage import EPISODE_USAGE, Usage


def test_usage_adds_up() -> None:
    one = Usage(1, 2, 3, subtasks=4, revisions=5, depth=7, longest_context=80, reused_subtasks=6, paths=1)
    other = Usage(reasoning_tokens=10, depth=9, paths=2)
    total = Usage(11, 2, 3, subtasks=4, revisions=5, depth=9, longest_context=80, reused_subtasks=6, paths=3)
    assert one + other == total
    assert one.tokens == 1 + 2 + 3
    assert one.hidden_tokens == 1 + 3


def test_the_fields_of_an_episode_come_first() -> None:
    usage = Usage(*range(1, len(EPISODE_USAGE) + 1))
    assert [getattr(usage, name) for name in EPISODE_USAGE] == [1, 2, 3, 4, 5, 6, 7]
    assert usage.reused_subtasks == usage.paths == 0
