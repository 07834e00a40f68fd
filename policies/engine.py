"""One engine decodes the threads of many paths of many problems together, on the environment's own call stacks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.envs.episodes import EnvConfig
from o1nano.envs.grammar import Grammar, State
from o1nano.envs.rules import CallStacks, Outcome
from o1nano.envs.vocab import END_CALL, END_THINK, EQUALS, PAD, STEP, THINK
from o1nano.policies.beam import Beam
from o1nano.policies.decoding import Decoder
from o1nano.policies.long_decoding import LongDecoder
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.sampling import choose, key, uniforms
from o1nano.policies.threads import Ballot, Thinking, Thread, commuted

LONG = 4096
"""Frames that may be longer are decoded one path at a time, in bounded memory."""
_THOUGHTS = (State.ROOT_THINK, State.CHILD_THINK)


class Engine:
    """Runs threads, as many at a time as it has rows. Every row is a call stack of the environment.

    A subtask that is run once stays in the call stack of its caller. Where subtasks are voted on or shared, the caller
    is set aside, its row is free for others, and it goes on in some row with the answer that won.

    Args:
        network: The model.
        config: Limits and grammar of the environment.
        rows: Call stacks that are decoded together; one, if frames may be longer than ``LONG``.
        thinking: How to think.
        keep_frames: Whether threads keep the frames that have ended, hidden reasoning included.
        flat: Whether all frames of a problem stay in one context: see ``LongDecoder``.
    """

    def __init__(
        self,
        network: ReasoningNetwork,
        config: EnvConfig,
        rows: int,
        thinking: Thinking,
        keep_frames: bool = False,
        flat: bool = False,
    ) -> None:
        network.eval()
        long = flat or config.frame_length > LONG
        rows = 1 if long else rows
        self.thinking, self.depth, self.frame_length = thinking, config.depth, config.frame_length
        self.stacks = CallStacks(rows, config.limits, config.grammar)
        self.stacks.trace = [] if keep_frames else None
        self.decoder = LongDecoder(network, flat=flat) if long else Decoder(network, rows, config.frame_length)
        self.ready: deque[Thread] = deque()
        self.threads: list[Thread | None] = [None] * rows
        self._key = np.zeros(rows, dtype=np.uint64)
        self._drawn = np.zeros(rows, dtype=np.int64)
        self._temperature = np.zeros(rows, dtype=np.float32)
        # Of each row, log-probability and trust so far; of each of its frames, the same where a retry goes back to.
        self._sums = np.zeros((rows, 2))
        self._marks = np.zeros((rows, config.depth, 2))
        self._hasty = th.from_numpy(~_hasty(config.grammar)).to(self.decoder.device)

    def run(self, threads: Iterable[Thread]) -> None:
        """Runs threads, and those that they ask for, until all have ended. Each then calls its ``done``."""
        self.ready.extend(threads)
        while self._fill():
            log_probs, values = self.decoder.step(self.stacks.observe())
            self._hold(values)
            state = self.stacks.state.copy()
            self._constrain(log_probs, state)
            actions = choose(log_probs, self._temperature, uniforms(self._key, self._drawn))
            chance = log_probs.gather(1, th.from_numpy(actions).to(log_probs.device)[:, None])[:, 0].cpu().numpy()
            self._drawn += 1
            self._sums[:, 0] += chance
            concluded = state == State.ANSWER  # a thought has ended: what does the critic expect of it?
            self._sums[concluded, 1] += np.log(values.cpu().numpy()[concluded].clip(0.01, 1.0))
            outcome = self.stacks.step(actions)
            for row in np.flatnonzero(actions == STEP).tolist() if self.thinking.beam > 1 else ():
                if (stepped := self.threads[row]) is not None:
                    stepped.at_step = True
            self._keep_frames()
            if self.thinking.retries:
                self._retry(np.isin(state, _THOUGHTS) & (outcome == Outcome.RUNNING), actions, chance)
            self._leave(outcome)

    def _fill(self) -> bool:
        """Gives free rows to threads that are ready; returns whether anything runs."""
        for row in range(len(self.threads)):
            while self.threads[row] is None and self.ready:
                thread = self.ready.popleft()
                if not thread.given_up:
                    self._enter(row, thread)
        return any(thread is not None for thread in self.threads)

    def _enter(self, row: int, thread: Thread) -> None:
        self.stacks.continue_at(row, thread.frame)
        self.stacks.emitted[row] = thread.spent
        self.decoder.forget(row)
        self.threads[row] = thread
        self._key[row], self._drawn[row], self._temperature[row] = thread.key, thread.drawn, thread.temperature
        self._sums[row], self._marks[row, 0] = (thread.log_prob, thread.trust), thread.mark

    def _exit(self, row: int) -> Thread:
        """Takes the thread of a row out of it, and charges its path."""
        thread, stacks = self.threads[row], self.stacks
        assert thread is not None
        thread.spent, thread.drawn = int(stacks.emitted[row]), int(self._drawn[row])
        thread.log_prob, thread.trust = self._sums[row].tolist()
        thread.mark = tuple(self._marks[row, 0].tolist())
        path = thread.path
        path.tokens = path.tokens + stacks.channel_tokens[:, row]
        path.subtasks += int(stacks.calls[row])
        path.revisions += int(stacks.revisions[row])
        path.depth = max(path.depth, thread.depth + int(stacks.deepest[row]))
        path.longest = max(path.longest, int(stacks.longest[row]))
        self.threads[row] = None
        return thread

    def _leave(self, outcome: npt.NDArray[np.uint8]) -> None:
        """Ends threads, and sets those aside whose subtask is a thread of its own."""
        stacks = self.stacks
        asking = (stacks.depth > 0) & self.thinking.asks
        for row in np.flatnonzero((outcome != Outcome.RUNNING) | asking).tolist():
            if self.threads[row] is None:
                continue
            thread = self._exit(row)
            if outcome[row]:
                self._end(thread, outcome[row], stacks.answer(row) if outcome[row] == Outcome.ANSWERED else b"")
            else:
                thread.frame, subtask = (tokens.tobytes() for tokens in stacks.open_frames(row))
                self._ask(thread, subtask)
        for row, running in enumerate(self.threads):
            if running is not None and running.given_up:
                self._exit(row)
            if self.threads[row] is None:
                stacks.park(row)

    def _end(self, thread: Thread, outcome: int, answer: bytes) -> None:
        thread.outcome, thread.answer = Outcome(outcome), answer
        if not thread.given_up:
            thread.done(thread)

    def _ask(self, asker: Thread, prompt: bytes) -> None:
        """Puts a subtask to the vote, unless its path knows the result or is about to."""
        thinking, path = self.thinking, asker.path
        known = path.results.get(prompt) if thinking.share else None
        pending = path.open.get(prompt) if thinking.share else None
        if asker.depth + 1 >= self.depth:
            self._end(asker, Outcome.TOO_DEEP, b"")
        elif known is not None:
            path.shared += 1
            self._go_on(asker, known)
        elif pending is not None and pending.is_wanted() and not pending.awaits(asker):
            path.shared += 1
            asker.ballot = pending
            pending.askers.append(asker)
        else:
            self._vote(asker, prompt)

    def _vote(self, asker: Thread, prompt: bytes) -> None:
        thinking, path = self.thinking, asker.path
        ballot = asker.ballot = (Beam if thinking.beam > 1 else Ballot)(prompt, [asker], thinking.lead)
        # A result that several get must not depend on who happens to ask first.
        stream = (path.key, prompt.hex()) if thinking.share else (asker.key, asker.drawn)
        own = path.temperature if thinking.share else asker.temperature
        for vote in range(thinking.width):
            asked = commuted(prompt) if vote % 2 else prompt
            temperature = own if vote == 0 else own or 1.0
            voter = Thread(asked, key(*stream, vote), path, lambda _: self._count(ballot), temperature)
            voter.depth, voter.candidacy = asker.depth + 1, ballot
            ballot.voters.append(voter)
        path.open[prompt] = ballot
        self.ready.extendleft(reversed(ballot.voters))  # what is begun is brought to its end first

    def _count(self, ballot: Ballot) -> None:
        """Lets the askers go on once a vote is decided, and voters that have waited for each other."""
        if not ballot.askers:
            return
        self.ready.extendleft(ballot.advance())
        if not ballot.is_decided():
            return
        for voter in ballot.voters:
            if voter.outcome == Outcome.RUNNING:
                voter.give_up()
        winner, (askers, ballot.askers) = ballot.winner(), (ballot.askers, [])
        path = askers[0].path
        if path.open.get(ballot.prompt) is ballot:
            del path.open[ballot.prompt]
        if winner is not None:
            path.results[ballot.prompt] = winner
        for asker in askers:
            if winner is None:
                self._end(asker, ballot.voters[0].outcome, b"")
            elif not asker.given_up:
                self._go_on(asker, winner)

    def _go_on(self, asker: Thread, child: Thread) -> None:
        asker.hear(child)
        if len(asker.frame) >= self.frame_length:
            self._end(asker, Outcome.FRAME_FULL, b"")
        else:
            self.ready.appendleft(asker)

    def _hold(self, values: th.Tensor) -> None:
        """Takes hypotheses of a beam out of their rows where a step of theirs has ended, and the critic has seen it."""
        for row, thread in enumerate(self.threads):
            if thread is None or not thread.at_step or not isinstance(thread.candidacy, Beam):
                continue
            thread.frame, thread.at_step = self.stacks.open_frames(row)[0].tobytes(), False
            self._exit(row)
            self.stacks.park(row)
            thread.candidacy.hold(thread, float(values[row]))
            self._count(thread.candidacy)

    def _constrain(self, log_probs: th.Tensor, state: npt.NDArray[np.intp]) -> None:
        """Takes away what a path may not say while it must think on, or once it must answer."""
        thinking, emitted = self.thinking, self.stacks.emitted
        if thinking.min_tokens:
            early = np.flatnonzero((emitted < thinking.min_tokens) & np.isin(state, _THOUGHTS))
            log_probs[th.from_numpy(early), END_THINK] = -th.inf
        if thinking.max_tokens:
            late = th.from_numpy(np.flatnonzero(emitted >= thinking.max_tokens)).to(log_probs.device)
            forbidden = self._hasty[th.from_numpy(state).to(log_probs.device)[late]]
            log_probs[late] = log_probs[late].masked_fill(forbidden, -th.inf)

    def _retry(self, eligible: npt.NDArray[np.bool_], actions: npt.NDArray[np.int64], chance: np.ndarray) -> None:
        """Takes thoughts back to their last committed step where the model doubts what it has just said."""
        stacks, thinking = self.stacks, self.thinking
        for row in np.flatnonzero(np.isin(actions, (STEP, END_THINK))).tolist():
            thread = self.threads[row]
            self._temperature[row] = thread.temperature if thread else 0.0
        for row in np.flatnonzero(eligible & (chance < np.log(max(thinking.retry_below, 1e-9)))).tolist():
            thread = self.threads[row]
            if thread is None or thread.path.retries >= thinking.retries:
                continue
            before = stacks.frame(row)[:-1].tobytes()  # a doubted ";" commits nothing
            stacks.rewind(row, max(before.rfind(STEP), before.rfind(THINK)) + 1)
            self._sums[row] = self._marks[row, stacks.depth[row]]
            self._temperature[row] = thread.temperature or 1.0
            thread.path.retries += 1
            thread.at_step, actions[row] = False, PAD
        begun = np.flatnonzero(np.isin(actions, (STEP, THINK)))
        self._marks[begun, stacks.depth[begun]] = self._sums[begun]

    def _keep_frames(self) -> None:
        """Hands the frames that have just ended to their threads."""
        for ended in self.stacks.trace or ():
            thread = self.threads[ended.stack]
            if thread is not None:
                thread.frames.append(ended._replace(depth=thread.depth + ended.depth))
        if self.stacks.trace:
            self.stacks.trace = []


def _hasty(grammar: Grammar) -> npt.NDArray[np.bool_]:
    """``[NUM_STATES, VOCAB_SIZE]``: the legal tokens that lead to an answer at once."""
    table = grammar.legal.copy()
    table[:, THINK] = False
    calls, tails = range(State.ROOT_CALL, State.TAIL), range(State.TAIL, State.ANSWER_SYMBOLS)
    end_call = END_CALL if grammar.calls else THINK  # in one flat frame the only way out of a call
    for states, end in ((_THOUGHTS, END_THINK), (calls, end_call), (tails, EQUALS)):
        for state in states:
            if grammar.legal[state, end]:
                table[state] = False
                table[state, end] = True
    # Where nothing is legal (a row without a path) all is, as in ``Heads``: something must be there to draw from.
    table |= ~table.any(1, keepdims=True)
    return table
