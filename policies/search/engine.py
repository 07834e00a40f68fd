"""One engine decodes the branches of many attempts together, on the environment's own call stacks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import CallStacks, Outcome
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.frame_changes import CONTINUED, OPENED, RETURNED
from o1nano.envs.core.grammar import Grammar, State
from o1nano.envs.core.usage import Usage
from o1nano.envs.language.vocab import END_CALL, END_THINK, EQUALS, THINK
from o1nano.envs.seeding import stream_seed
from o1nano.policies.decoding.decoder import Decoder
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search.branches import Branch, Vote, commuted
from o1nano.policies.search.events import BranchEnded, FrameOpened, FrameReturned, Observe, TokenEmitted
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.sampling import sample_tokens, uniforms

LONG_FRAME = 4096
"""Frames that may be longer are decoded one attempt at a time: keys and values of several would take much memory."""
_THOUGHTS = (State.ROOT_THINK, State.CHILD_THINK)


class Engine:
    """Runs branches, one in each of its rows. Every row is a call stack of the environment.

    A subtask that is run once stays in the call stack of its caller. If subtasks are voted on or reused, the caller
    gives up its row, and later continues in some row with the answer that won.

    Args:
        network: The model.
        config: Limits and grammar of the environment.
        rows: Number of call stacks that are decoded together; one if frames may be longer than ``LONG_FRAME``.
        options: Votes, reuse of subtasks and budgets.
        keep_frames: Whether branches keep the frames that have ended, hidden reasoning included.
        observe: Called with every event; None costs nothing.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        config: EnvConfig,
        rows: int,
        options: SearchOptions,
        keep_frames: bool = False,
        observe: Observe | None = None,
    ) -> None:
        network.eval()
        rows = 1 if config.frame_length > LONG_FRAME else rows
        self.options = options
        self.observe = observe
        self.depth = config.depth
        self.frame_length = config.frame_length
        self.stacks = CallStacks(rows, config.limits, config.grammar)
        self.stacks.trace = [] if keep_frames else None
        self.decoder = Decoder(network, rows, config.frame_length)

        # Branches that could run, the next one first; and what runs in each row.
        self.ready: deque[Branch] = deque()
        self.running: list[Branch | None] = [None] * rows

        # The random stream of the branch in each row, how far it is, and how its tokens are drawn.
        self._seed = np.zeros(rows, dtype=np.uint64)
        self._drawn = np.zeros(rows, dtype=np.int64)
        self._temperature = np.zeros(rows, dtype=np.float32)
        self._log_prob = np.zeros(rows)
        self._all = np.arange(rows)
        self._leads_to_answer = answer_now_mask(config.grammar)

    def run(self, branches: Iterable[Branch]) -> None:
        """Runs branches, and those that they ask for, until all have ended. Each then calls its ``on_end``."""
        self.ready.extend(branches)
        while self._assign_rows():
            log_probs = self.decoder.step(self.stacks.observe())[0].cpu().numpy()
            self._apply_budget(log_probs, self.stacks.state)
            actions = sample_tokens(log_probs, self._temperature, uniforms(self._seed, self._drawn))
            self._drawn += 1
            self._log_prob += log_probs[self._all, actions]

            outcome = self.stacks.step(actions)
            self._keep_frames()
            self._report_step(actions, log_probs)
            self._collect_ended(outcome)

    def _assign_rows(self) -> bool:
        """Gives free rows to branches that are ready; returns whether anything runs."""
        for row in range(len(self.running)):
            while self.running[row] is None and self.ready:
                branch = self.ready.popleft()
                if not branch.cancelled:
                    self._assign_row(row, branch)
        return any(branch is not None for branch in self.running)

    def _assign_row(self, row: int, branch: Branch) -> None:
        # The frames below the branch's own stay with the branches that wait for it: here it is the bottom of a stack.
        self.stacks.continue_at(row, branch.frame)
        self.stacks.emitted[row] = branch.emitted
        self.decoder.clear(row)

        self.running[row] = branch
        self._seed[row] = branch.seed
        self._drawn[row] = branch.drawn
        self._temperature[row] = branch.temperature
        self._log_prob[row] = branch.log_prob

        # A branch that has emitted tokens was announced when it started.
        if self.observe is not None and not branch.emitted:
            self.observe(FrameOpened(branch, branch.depth, branch.frame))

    def _release_row(self, row: int) -> Branch:
        """Takes the branch of a row out of it, and charges its attempt."""
        stacks = self.stacks
        branch = self.running[row]
        assert branch is not None
        branch.emitted = int(stacks.emitted[row])
        branch.drawn = int(self._drawn[row])
        branch.log_prob = float(self._log_prob[row])

        # Frames below the branch's own are open too: those of the branches that wait for it.
        usage = stacks.usage_of(row)
        branch.attempt.usage += replace(usage, depth=branch.depth + usage.depth)
        self.running[row] = None
        return branch

    def _collect_ended(self, outcome: npt.NDArray[np.uint8]) -> None:
        """Ends branches, and sets those aside whose subtask is a branch of its own."""
        stacks = self.stacks
        asking = (stacks.depth > 0) & self.options.runs_subtasks_apart
        for row in np.flatnonzero((outcome != Outcome.RUNNING) | asking).tolist():
            if self.running[row] is None:
                continue
            branch = self._release_row(row)
            if outcome[row]:
                # What is left of a frame that was cut off is no answer.
                answer = stacks.answer(row) if outcome[row] == Outcome.ANSWERED else b""
                self._end(branch, outcome[row], answer)
            else:
                # Two frames are open: the branch's own, and the subtask that it has just called.
                caller, subtask = stacks.open_frames(row)
                branch.frame = caller.tobytes()
                self._ask(branch, subtask.tobytes())

        # A vote that was decided above may have cancelled branches in any row. Rows without a branch are closed, so
        # that the next step does not continue with them.
        for row, running in enumerate(self.running):
            if running is not None and running.cancelled:
                self._release_row(row)
            if self.running[row] is None:
                stacks.close(row)

    def _end(self, branch: Branch, outcome: int, answer: bytes) -> None:
        branch.outcome = Outcome(outcome)
        branch.answer = answer
        if self.observe is not None:
            self.observe(BranchEnded(branch))
        if not branch.cancelled:
            branch.on_end(branch)

    def _ask(self, branch: Branch, prompt: bytes) -> None:
        """Starts a vote on a subtask, unless its attempt has the result already or is voting on it."""
        attempt = branch.attempt
        result = None
        vote = None
        if self.options.reuse_subtasks:
            result = attempt.results.get(prompt)
            vote = attempt.votes.get(prompt)

        if branch.depth + 1 >= self.depth:
            self._end(branch, Outcome.TOO_DEEP, b"")
        elif result is not None:
            attempt.usage += Usage(reused_subtasks=1)
            self._resume(branch, result)
        elif vote is not None and vote.is_wanted() and not vote.depends_on(branch):
            attempt.usage += Usage(reused_subtasks=1)
            branch.waiting_for = vote
            vote.waiting.append(branch)
        else:
            self._start_vote(branch, prompt)

    def _start_vote(self, asker: Branch, prompt: bytes) -> None:
        attempt = asker.attempt
        options = self.options
        vote = Vote(prompt, [asker])
        asker.waiting_for = vote

        # A result that several branches get must not depend on which of them happens to ask first.
        origin: tuple[int, str | int]
        if options.reuse_subtasks:
            origin = (attempt.seed, prompt.hex())
            first_temperature = attempt.temperature
        else:
            origin = (asker.seed, asker.drawn)
            first_temperature = asker.temperature

        for number in range(options.votes):
            # Greedy voters would all say the same, so only the first may be greedy.
            temperature = first_temperature
            if number > 0 and not temperature:
                temperature = 1.0

            asked = commuted(prompt) if number % 2 else prompt
            seed = stream_seed(*origin, number)
            voter = Branch(asked, seed, attempt, lambda _: self._count(vote), temperature, asker.depth + 1)
            vote.voters.append(voter)

        # At the front of the queue: what has begun is finished before new attempts start.
        attempt.votes[prompt] = vote
        self.ready.extendleft(reversed(vote.voters))

    def _count(self, vote: Vote) -> None:
        """Resumes the branches that wait for a vote, once it is decided."""
        if not vote.waiting or not vote.is_decided():
            return
        for voter in vote.voters:
            if voter.outcome == Outcome.RUNNING:
                voter.cancel()

        # A vote without waiting branches is closed: voters that still end are not counted again.
        winner = vote.winner()
        waiting = vote.waiting
        vote.waiting = []

        # Another branch of the attempt may have opened a later vote on the same subtask. That one stays.
        attempt = waiting[0].attempt
        if attempt.votes.get(vote.prompt) is vote:
            del attempt.votes[vote.prompt]
        if winner is not None:
            attempt.results[vote.prompt] = winner

        # If no voter has answered, the caller fails in the way in which the first voter did.
        for branch in waiting:
            if winner is None:
                self._end(branch, vote.voters[0].outcome, b"")
            elif not branch.cancelled:
                self._resume(branch, winner)

    def _resume(self, branch: Branch, child: Branch) -> None:
        branch.resume_with(child)
        if self.observe is not None:
            self.observe(FrameReturned(branch, branch.depth, child.answer))
        if len(branch.frame) >= self.frame_length:
            self._end(branch, Outcome.FRAME_FULL, b"")
        else:
            self.ready.appendleft(branch)

    def _apply_budget(self, log_probs: npt.NDArray[np.float32], state: npt.NDArray[np.intp]) -> None:
        """Rules out tokens that end a thought too early, or prolong it once the budget is spent."""
        options = self.options
        emitted = self.stacks.emitted
        if options.min_tokens:
            early = (emitted < options.min_tokens) & np.isin(state, _THOUGHTS)
            log_probs[early, END_THINK] = -np.inf
        if options.max_tokens:
            late = emitted >= options.max_tokens
            delays = ~self._leads_to_answer[state]
            log_probs[late[:, None] & delays] = -np.inf

    def _report_step(self, actions: npt.NDArray[np.int64], log_probs: npt.NDArray[np.float32]) -> None:
        """Tells whoever watches what the last step did in each row."""
        if self.observe is None:
            return
        stacks = self.stacks
        for row, branch in enumerate(self.running):
            if branch is None:
                continue
            change = int(stacks.changes[row])
            depth = branch.depth + int(stacks.depth[row])

            # The token belongs to the frame that was on top before the step: one below a frame that it has opened, one
            # above the frame that it has returned to.
            own_depth = depth - (change == OPENED) + (change == RETURNED)
            self.observe(TokenEmitted(branch, own_depth, int(actions[row]), log_probs[row]))
            if change == CONTINUED:
                continue
            frame = stacks.frame(row).tobytes()
            if change == RETURNED:
                self.observe(FrameReturned(branch, depth, frame[frame.rindex(END_CALL) + 1 :]))
            elif change != OPENED or not self.options.runs_subtasks_apart:
                self.observe(FrameOpened(branch, depth, frame, replaces=change != OPENED))

    def _keep_frames(self) -> None:
        """Hands the frames that have just ended to their branches."""
        for ended in self.stacks.trace or ():
            # The row counts depth from the branch; a reader of the frames wants it from the root.
            branch = self.running[ended.stack]
            if branch is not None:
                branch.frames.append(ended._replace(depth=branch.depth + ended.depth))
        if self.stacks.trace:
            self.stacks.trace = []


def answer_now_mask(grammar: Grammar) -> npt.NDArray[np.bool_]:
    """Returns the legal tokens that lead to an answer without further thought.

    A thought, a call and a tail call end at once where the grammar allows it, and no thought begins. Where they cannot
    end yet, because an expression is not complete, every legal token stays.

    Args:
        grammar: The grammar of the environment.

    Returns:
        ``[NUM_STATES, VOCAB_SIZE]``; at least one token of every state.
    """
    table = grammar.legal.copy()
    table[:, THINK] = False

    # Without a call stack, <think> is the only way out of a call.
    end_call = END_CALL if grammar.calls else THINK
    endings = (
        (_THOUGHTS, END_THINK),
        (range(State.ROOT_CALL, State.TAIL), end_call),
        (range(State.TAIL, State.ANSWER_SYMBOLS), EQUALS),
    )
    for states, end in endings:
        for state in states:
            if grammar.legal[state, end]:
                table[state] = False
                table[state, end] = True

    # A row without a branch is in a state without legal tokens. There all are allowed: one must be drawn.
    table |= ~table.any(1, keepdims=True)
    return table
