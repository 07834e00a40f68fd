"""Branches of a solution: frames under way that the engine runs, suspends and resumes, and votes on subtasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from o1nano.envs.core.call_stack import Ended, Outcome
from o1nano.envs.core.usage import Usage
from o1nano.envs.language.vocab import EQUALS, NINE, PLUS, SUBTASK, TIMES, ZERO


@dataclass
class Attempt:
    """One attempt at a problem: what all of its branches share.

    Attributes:
        seed: Seed of its stream of random numbers.
        temperature: Log-probabilities are divided by it before sampling; 0 is greedy.
        usage: What it has cost so far, including votes that were lost.
        results: The winning branch of every decided vote, by prompt.
        votes: Votes that are still open, by prompt.
    """

    seed: int = 0
    temperature: float = 0.0
    usage: Usage = field(default_factory=lambda: Usage(paths=1))
    results: dict[bytes, Branch] = field(default_factory=dict)
    votes: dict[bytes, Vote] = field(default_factory=dict)


@dataclass(eq=False)
class Branch:
    """A frame under way, and everything that it calls.

    Attributes:
        frame: Its tokens so far.
        seed: Seed of its stream of random numbers.
        attempt: The attempt that it belongs to.
        on_end: Called with the branch once it has ended.
        temperature: Log-probabilities are divided by it before sampling; 0 is greedy.
        depth: Number of frames open below it.
        drawn: Random numbers used so far.
        emitted: Tokens of the branch, including those of the answers that it was given.
        log_prob: Log-probability of these tokens at temperature 1.
        frames: Frames that have ended, children before parents, if the engine keeps frames.
        outcome: How it ended.
        answer: The visible answer as tokens, empty without one.
        waiting_for: The vote that it waits for.
        cancelled: Whether its answer is no longer needed.
    """

    frame: bytes
    seed: int
    attempt: Attempt
    on_end: Callable[[Branch], None]
    temperature: float = 0.0
    depth: int = 0
    drawn: int = 0
    emitted: int = 0
    log_prob: float = 0.0
    frames: list[Ended] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    answer: bytes = b""
    waiting_for: Vote | None = None
    cancelled: bool = False

    def resume_with(self, child: Branch) -> None:
        """Appends the answer of a child, and charges what led to it."""
        self.waiting_for = None
        self.frame += child.answer

        # Lost votes are no part of this path: their cost stands in the usage of the attempt only.
        self.emitted += child.emitted
        self.log_prob += child.log_prob
        self.frames += child.frames

    def cancel(self) -> None:
        """Gives up this branch, and whatever only this branch waits for."""
        self.cancelled = True

        # With reuse of subtasks, other branches may wait for the same vote. Then its voters continue.
        if self.waiting_for and not self.waiting_for.is_wanted():
            for voter in self.waiting_for.voters:
                voter.cancel()


@dataclass(eq=False)
class Vote:
    """A vote on the answer to a subtask.

    Attributes:
        prompt: The subtask.
        waiting: Branches that wait for the result; empty once the vote is decided.
        voters: Branches that each solve the subtask.
    """

    prompt: bytes
    waiting: list[Branch]
    voters: list[Branch] = field(default_factory=list)

    def is_wanted(self) -> bool:
        """Returns True if some branch still waits for the result."""
        return not all(branch.cancelled for branch in self.waiting)

    def depends_on(self, branch: Branch) -> bool:
        """Returns True if the result may depend on a branch. Such a branch must not wait for it: both would hang."""
        # A search through the graph "vote -> its voters -> the votes that they wait for". The list grows while it is
        # read. Votes are told apart by identity, because two of them can be about the same subtask.
        reached = [self]
        seen = {id(self)}
        for vote in reached:
            for voter in vote.voters:
                if voter is branch:
                    return True

                next_vote = voter.waiting_for
                if next_vote is not None and id(next_vote) not in seen:
                    seen.add(id(next_vote))
                    reached.append(next_vote)
        return False

    def count_answers(self) -> Counter[bytes]:
        """Returns how many voters have given each answer so far, in the order in which the voters were started."""
        counts: Counter[bytes] = Counter()
        for voter in self.voters:
            if voter.outcome == Outcome.ANSWERED:
                counts[voter.answer] += 1
        return counts

    def winner(self) -> Branch | None:
        """Returns the first voter with the most frequent answer, or None if no voter has answered."""
        # ``most_common`` keeps the order of equal counts, so a tie goes to the answer of the earliest voter.
        ranked = self.count_answers().most_common(1)
        if not ranked:
            return None
        leading_answer = ranked[0][0]

        for voter in self.voters:
            if voter.outcome == Outcome.ANSWERED and voter.answer == leading_answer:
                return voter
        return None

    def is_decided(self) -> bool:
        """Returns True if the voters that still run cannot change the winner."""
        running = 0
        for voter in self.voters:
            running += voter.outcome == Outcome.RUNNING
        if not running:
            return True

        # The leader is safe if even all remaining votes together would not bring the second answer level with it.
        ranked = self.count_answers().most_common(2)
        first = ranked[0][1] if ranked else 0
        second = ranked[1][1] if len(ranked) > 1 else 0
        return first > second + running


def commuted(prompt: bytes) -> bytes:
    """Returns a subtask's prompt with its operands exchanged if it is one sum or one product, otherwise as it is.

    A product of numbers of different lengths stays too: a model exchanges the factors if the second one is longer, so
    two voters would ask each other for ever.
    """
    # Without <subtask> and the equals sign.
    expression = prompt[1:-1]

    # Signs, brackets and names are no digits either, so one token that is no digit means one operation on two numbers.
    operators = [index for index, token in enumerate(expression) if not ZERO <= token <= NINE]
    if len(operators) != 1 or expression[operators[0]] not in (PLUS, TIMES):
        return prompt

    # 8 9 + 5 4 becomes 5 4 + 8 9.
    middle = operators[0]
    left = expression[:middle]
    right = expression[middle + 1 :]
    operator = expression[middle : middle + 1]
    if expression[middle] == TIMES and len(left) != len(right):
        return prompt
    return bytes([SUBTASK]) + right + operator + left + bytes([EQUALS])
