"""Lines of thought: frames under way that the engine runs, suspends and resumes, and the votes on what they call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import Ended, Outcome
from o1nano.envs.core.grammar import Channel
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import EQUALS, NINE, PLUS, SUBTASK, TIMES, ZERO

MOST = 10**5
"""Of paths and votes: more are a slip of the keyboard."""


@dataclass(frozen=True)
class Thinking:
    """How a path thinks. The default: straight on, each subtask once."""

    vote: int = 1
    """Ways in which every subtask is run before the majority decides. All but the first sample (at temperature 1 where
    the path is greedy), every second one with commuted operands where the operation allows it."""
    share: bool = False
    """Whether subtasks of a path that are the same share one result."""
    max_tokens: int = 0
    """Tokens after which a path must come to its answer at once; 0 knows only the environment's limit. Subtasks that
    are voted on or shared count anew."""
    min_tokens: int = 0
    """Tokens before which no thought may end."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        for name in ("vote", "max_tokens", "min_tokens"):
            least, most = int(name == "vote"), 10**9 if name.endswith("tokens") else MOST
            if not least <= getattr(self, name) <= most:
                raise ConfigurationError(f"{name}={getattr(self, name)}; accepted: {least} to {most}")
        if self.max_tokens and self.min_tokens > self.max_tokens:
            raise ConfigurationError(
                f"min_tokens={self.min_tokens} with max_tokens={self.max_tokens}; accepted: at most as many"
            )

    @property
    def asks(self) -> bool:
        """Whether subtasks leave the call stack of their caller and become threads of their own."""
        return self.vote > 1 or self.share


@dataclass
class Path:
    """One attempt at a problem: what all of its threads have in common.

    Attributes:
        key: Its stream of random numbers.
        temperature: What log-probabilities are divided by before sampling; 0 is greedy.
        tokens: ``[3]`` emitted tokens by ``Channel``, votes that were lost included.
        subtasks: Calls.
        shared: Calls that were given the result of an earlier one.
        depth: Most frames open at the same time.
        longest: Tokens of the longest frame.
        revisions: ``<revise>`` tokens.
        results: Winners of the votes so far, by prompt.
        open: Votes that others may wait for too, by prompt.
    """

    key: int = 0
    temperature: float = 0.0
    tokens: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Channel), dtype=np.int64))
    subtasks: int = 0
    shared: int = 0
    depth: int = 0
    longest: int = 0
    revisions: int = 0
    results: dict[bytes, Thread] = field(default_factory=dict)
    open: dict[bytes, Ballot] = field(default_factory=dict)


@dataclass(eq=False)
class Thread:
    """A frame, and all that is called in it.

    Attributes:
        frame: Its tokens so far.
        key: Its stream of random numbers.
        path: What it is a part of.
        done: Called once it has ended.
        temperature: What log-probabilities are divided by before sampling; 0 is greedy.
        depth: Frames that are open below it.
        drawn: Random numbers that it has used.
        spent: Tokens of its line of thought: its own, and those of the answers that it was given.
        log_prob: Of these tokens, at temperature 1.
        frames: What has ended in its line of thought, children before parents, if frames are kept.
        outcome, answer: How it ended.
        ballot: The vote that it waits for.
        candidacy: The vote that it takes part in.
        given_up: Whether nobody wants its answer any more.
    """

    frame: bytes
    key: int
    path: Path
    done: Callable[[Thread], None]
    temperature: float = 0.0
    depth: int = 0
    drawn: int = 0
    spent: int = 0
    log_prob: float = 0.0
    frames: list[Ended] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    answer: bytes = b""
    ballot: Ballot | None = None
    candidacy: Ballot | None = None
    given_up: bool = False

    def hear(self, child: Thread) -> None:
        """Takes over the answer of a child, and the line of thought that led to it."""
        self.ballot = None
        self.frame += child.answer
        self.spent += child.spent
        self.log_prob += child.log_prob
        self.frames += child.frames

    def give_up(self) -> None:
        """Nobody wants its answer any more, nor what it alone waits for."""
        self.given_up = True
        if self.ballot and not self.ballot.is_wanted():
            for voter in self.ballot.voters:
                voter.give_up()


@dataclass(eq=False)
class Ballot:
    """A vote on the answer to a prompt.

    Attributes:
        prompt: What was asked.
        askers: Who wants to know; nobody any more once it is decided.
        voters: The threads that vote.
    """

    prompt: bytes
    askers: list[Thread]
    voters: list[Thread] = field(default_factory=list)

    def is_wanted(self) -> bool:
        """Tells whether anybody still waits for the result."""
        return not all(asker.given_up for asker in self.askers)

    def awaits(self, thread: Thread) -> bool:
        """Tells whether the result may depend on a thread: if that waited for it, both might wait for ever."""
        seen, ballots = {id(self)}, [self]
        for ballot in ballots:
            for voter in ballot.voters:
                if voter is thread:
                    return True
                if voter.ballot is not None and id(voter.ballot) not in seen:
                    seen.add(id(voter.ballot))
                    ballots.append(voter.ballot)
        return False

    def winner(self) -> Thread | None:
        """Returns the first voter for the answer that leads; None if nobody has answered."""
        answered = [voter for voter in self.voters if voter.outcome == Outcome.ANSWERED]
        first = Counter(voter.answer for voter in answered).most_common(1)
        return next((voter for voter in answered if voter.answer == first[0][0]), None)

    def is_decided(self) -> bool:
        """Tells whether the open votes can change nothing."""
        votes = Counter(voter.answer for voter in self.voters if voter.outcome == Outcome.ANSWERED)
        running = sum(voter.outcome == Outcome.RUNNING for voter in self.voters)
        first, second = ([count for _, count in votes.most_common(2)] + [0, 0])[:2]
        return not running or first > second + running


def commuted(prompt: bytes) -> bytes:
    """Returns a subtask's prompt with its operands exchanged, if it is one sum or one product; otherwise as it is."""
    expression = prompt[1:-1]
    operators = [at for at, token in enumerate(expression) if not ZERO <= token <= NINE]
    if len(operators) != 1 or expression[operators[0]] not in (PLUS, TIMES):
        return prompt
    at = operators[0]
    return bytes([SUBTASK]) + expression[at + 1 :] + expression[at : at + 1] + expression[:at] + bytes([EQUALS])
