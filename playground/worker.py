"""One thread answers the questions of all visitors in turn, and stops for those who have gone."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from o1nano.envs.errors import O1NanoError
from o1nano.playground.narration import Message
from o1nano.playground.questions import Question

_log = logging.getLogger(__name__)
_FAULT = "a fault of the program: its terminal shows the traceback"


class BusyError(O1NanoError):
    """Too many visitors wait already."""


class Gone(Exception):
    """The visitor has gone: nobody waits for the answer."""


class Visit:
    """A question, the messages for the visitor who has asked it, and whether the visitor is still there.

    The worker's thread sends, the server's loop receives. If the visitor reads slowly the worker waits, so that memory
    stays bounded, but not for ever: others wait too.

    Args:
        question: What was asked.
        capacity: Most messages that wait to be read.
        patience: Seconds after which a visitor who reads nothing counts as gone.
    """

    def __init__(self, question: Question, capacity: int = 1000, patience: float = 20.0) -> None:
        self.question = question
        self.capacity = capacity
        self.patience = patience
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._room = threading.Condition()
        self._messages: list[Message] = []
        self._is_finished = False
        self._has_gone = False

    @property
    def has_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._has_gone

    def send(self, message: Message) -> None:
        """Adds a message. Waits while too many are unread.

        Raises:
            Gone: If the visitor has gone.
        """
        with self._room:
            has_room = self._room.wait_for(lambda: self._has_gone or len(self._messages) < self.capacity, self.patience)
            if self._has_gone or not has_room:
                self._has_gone = True
                raise Gone
            self._messages.append(message)
            is_first = len(self._messages) == 1
        if is_first:
            self._wake()

    def finish(self) -> None:
        """Says that there are no more messages."""
        self._is_finished = True
        self._wake()

    def _wake(self) -> None:
        # The loop is closed while the server ends.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.set)

    async def receive(self, seconds: float) -> list[Message] | None:
        """Returns the messages that have come, after at most some seconds; None if there will be no more.

        Args:
            seconds: How long to wait for a message.
        """
        if not self._is_finished:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), seconds)
        self._ready.clear()
        was_finished = self._is_finished
        with self._room:
            messages, self._messages = self._messages, []
            self._room.notify()
        return None if was_finished and not messages else messages

    def leave(self) -> None:
        """Says that the visitor has gone."""
        with self._room:
            self._has_gone = True
            self._messages.clear()
            self._room.notify()


class Worker:
    """A thread that answers one question at a time, and the visitors who wait for it.

    Args:
        answer: Answers a question, and sends what happens to the visitor.
        room: Most visitors who wait while another one's question is answered.
    """

    def __init__(self, answer: Callable[[Visit], None], room: int) -> None:
        self.answer = answer
        self.room = room
        self._waiting: list[Visit] = []
        self._current: Visit | None = None
        self._is_closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="playground", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; whoever waits gets no answer."""
        with self._change:
            self._is_closed = True
            here = [*self._waiting, *([self._current] if self._current else [])]
            self._change.notify()
        for visit in here:
            visit.leave()
        self._thread.join()

    def enter(self, visit: Visit) -> None:
        """Puts a visitor at the end of the queue.

        Raises:
            BusyError: If it is full.
        """
        with self._change:
            if len(self._waiting) + (self._current is not None) > self.room:
                raise BusyError(f"{self.room} visitors wait already; expected that you try again in a minute")
            self._waiting.append(visit)
            self._change.notify()

    def leave(self, visit: Visit) -> None:
        """Says that a visitor has gone: a question that waits is dropped, one that is being answered stops."""
        visit.leave()
        with self._change:
            if visit in self._waiting:
                self._waiting.remove(visit)

    def ahead_of(self, visit: Visit) -> int:
        """Returns how many questions are answered before a visitor's; 0 if it is this one's turn."""
        with self._change:
            if visit not in self._waiting:
                return 0
            return self._waiting.index(visit) + (self._current is not None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered and nobody waits."""
        with self._change:
            return self._current is None and not self._waiting

    def _work(self) -> None:
        while True:
            with self._change:
                self._current = None
                self._change.wait_for(lambda: self._is_closed or self._waiting)
                if self._is_closed:
                    return
                visit = self._current = self._waiting.pop(0)
            self._serve(visit)

    def _serve(self, visit: Visit) -> None:
        with suppress(Gone):
            try:
                self.answer(visit)
            except O1NanoError as error:
                visit.send({"kind": "error", "text": " ".join(str(error).split())})
            except Gone:
                raise
            except Exception:
                # The fault is shown in the terminal, and the other visitors still get their answers.
                _log.exception("while answering %r", visit.question)
                visit.send({"kind": "error", "text": _FAULT})
        visit.finish()
