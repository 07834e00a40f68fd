"""One thread for all visitors: in turn, within bounds, and nothing for those who have gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from o1nano.envs.errors import ProblemError
from o1nano.playground.questions import Question
from o1nano.playground.worker import BusyError, Visit, Worker

PATIENCE = 120.0  # seconds: the machine may be busy


async def everything(visit: Visit) -> list[object]:
    """All that a visitor is told."""
    told: list[object] = []
    while (messages := await visit.receive(PATIENCE)) is not None:
        told += [message["n"] if "n" in message else message["text"] for message in messages]
    return told


def visit(problem: str = "1+1", capacity: int = 1000) -> Visit:
    return Visit(Question(problem), capacity)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def endless(visitor: Visit) -> None:
    number = 0
    while True:
        visitor.send({"n": number})
        number += 1


def test_visitors_are_answered_in_turn() -> None:
    async def main() -> None:
        go = threading.Event()

        def answer(visitor: Visit) -> None:
            assert go.wait(PATIENCE)
            visitor.send({"text": visitor.question.problem})

        worker = Worker(answer, room=2)
        worker.start()
        visits = [visit("1+1")]
        worker.enter(visits[0])
        await until(lambda: worker.ahead_of(visits[0]) == 0)
        for problem in ("2+2", "3+3"):
            visits.append(visit(problem))
            worker.enter(visits[-1])
        assert [worker.ahead_of(each) for each in visits] == [0, 1, 2]
        with pytest.raises(BusyError, match="2 visitors wait already"):
            worker.enter(visit())

        worker.leave(visits[1])
        assert worker.ahead_of(visits[2]) == 1
        go.set()
        assert await everything(visits[0]) == ["1+1"]
        assert await everything(visits[2]) == ["3+3"]
        await until(lambda: worker.is_idle)
        worker.close()

    asyncio.run(main())


def test_a_visitor_who_leaves_ends_what_never_ends() -> None:
    async def main() -> None:
        worker = Worker(endless, room=1)
        worker.start()
        one = visit()
        worker.enter(one)
        assert await one.receive(PATIENCE)
        worker.leave(one)
        await until(lambda: worker.is_idle)
        worker.close()

    asyncio.run(main())


def test_a_slow_reader_makes_the_worker_wait() -> None:
    async def main() -> None:
        sent: list[int] = []

        def answer(visitor: Visit) -> None:
            for number in range(100):
                visitor.send({"n": number})
                sent.append(number)

        worker = Worker(answer, room=1)
        worker.start()
        one = visit(capacity=10)
        worker.enter(one)
        await until(lambda: len(sent) == 10)
        time.sleep(0.05)
        assert len(sent) == 10
        assert await everything(one) == list(range(100))
        worker.close()

    asyncio.run(main())


def test_a_visitor_who_reads_nothing_is_given_up() -> None:
    async def main() -> None:
        worker = Worker(endless, room=1)
        worker.start()
        one = Visit(Question("1+1"), capacity=10, patience=0.05)
        worker.enter(one)
        await until(lambda: one.has_gone and worker.is_idle)
        worker.close()
        assert one.has_gone

    asyncio.run(main())


def test_closing_ends_what_is_under_way() -> None:
    async def main() -> None:
        worker = Worker(endless, room=3)
        worker.start()
        for _ in range(3):
            worker.enter(visit())
        worker.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "playground"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "said"),
    [(ProblemError("no\nproblem"), "no problem"), (ZeroDivisionError("secret"), "a fault of the program")],
    ids=["mistake", "fault"],
)
def test_an_error_is_told_and_the_next_visitor_is_answered(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        def answer(visitor: Visit) -> None:
            if visitor.question.problem == "bad":
                raise error
            visitor.send({"text": "fine"})

        worker = Worker(answer, room=2)
        worker.start()
        visits = [visit("bad"), visit("good")]
        for each in visits:
            worker.enter(each)
        (told,) = await everything(visits[0])
        assert isinstance(told, str) and told.startswith(said) and "secret" not in told
        assert await everything(visits[1]) == ["fine"]
        worker.close()

    asyncio.run(main())
    assert ("Traceback" in caplog.text) == isinstance(error, ZeroDivisionError)
