"""Search over the steps of a subtask: hypotheses that the critic expects little of make room for others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from o1nano.envs.rules import Outcome
from o1nano.policies.sampling import key
from o1nano.policies.threads import Ballot, Thread


@dataclass(eq=False)
class Beam(Ballot):
    """A beam of sampled hypotheses. At every step (a ``;`` or an answered call) they wait for each other.

    Then the worse half, by the critic's estimate, is given up, and the better half goes on twice. Of those that have
    come to an answer the one is believed whose thoughts the critic values most.

    Attributes:
        held: Hypotheses that wait, and what the critic expects of them.
    """

    held: dict[Thread, float] = field(default_factory=dict)

    def hold(self, thread: Thread, value: float) -> None:
        """Takes in a hypothesis at the end of a step."""
        self.held[thread] = value

    def advance(self) -> list[Thread]:
        """Returns those that go on, once all wait or have ended."""
        if not self.held or any(voter.outcome == Outcome.RUNNING and voter not in self.held for voter in self.voters):
            return []
        ranking = sorted(self.held, key=lambda thread: -self.held[thread])
        kept, dropped = ranking[: (len(ranking) + 1) // 2], ranking[(len(ranking) + 1) // 2 :]
        for thread in dropped:
            thread.give_up()
        twins = [
            replace(thread, key=key(thread.key, thread.drawn, "twin"), frames=list(thread.frames))
            for thread, _ in zip(kept, dropped, strict=False)
        ]
        self.held.clear()
        self.voters = [voter for voter in self.voters if not voter.given_up] + twins
        return kept + twins

    def winner(self) -> Thread | None:
        """Returns the hypothesis whose thoughts are valued most; None if nobody has answered."""
        answered = [voter for voter in self.voters if voter.outcome == Outcome.ANSWERED]
        return max(answered, key=lambda voter: voter.trust, default=None)

    def is_decided(self) -> bool:
        """Tells whether all have ended."""
        return all(voter.outcome != Outcome.RUNNING for voter in self.voters)
