"""The application: a page, and what it asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from o1nano.envs.errors import ConfigurationError, O1NanoError
from o1nano.playground.answering import Answering, Limits
from o1nano.playground.examples import examples
from o1nano.playground.guard import Guard
from o1nano.playground.measurements import measurements
from o1nano.playground.narration import Message
from o1nano.playground.questions import CHOICES, MAX_BODY, MAX_CHARACTERS, MAX_PATHS, read_question
from o1nano.playground.runs import Runs
from o1nano.playground.worker import BusyError, Visit, Worker
from o1nano.policies.search.solver import Solver

_PULSE = 0.5  # seconds between two looks at whether the visitor is still there
_GATHER = 0.02  # seconds in which tokens are gathered for one event of the stream
_BODY_SECONDS = 5.0
_STATIC = {"/": "index.html", "/playground.css": "playground.css", "/playground.js": "playground.js"}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class Playground:
    """What the page asks for.

    Args:
        solver: The model.
        model: Its file, or the folder of its run.
        runs: The folder of runs that the page follows.
        limits: What a question may cost, and how many visitors may wait.
    """

    def __init__(self, solver: Solver, model: Path, runs: Path, limits: Limits) -> None:
        self.solver = solver
        self.model = model
        self.runs = Runs(runs)
        self.answering = Answering(solver, limits)
        self.worker = Worker(self.answering, limits.visitors)
        self.examples = examples(solver)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Runs the worker while the application runs."""
        self.worker.start()
        try:
            yield
        finally:
            self.worker.close()

    async def about(self, request: Request) -> JSONResponse:
        """Returns the model's name, the problems to try, and the ranges of the fields."""
        return JSONResponse(
            {
                "model": str(self.model),
                "examples": self.examples,
                "choices": CHOICES,
                "max_paths": MAX_PATHS,
                "max_characters": MAX_CHARACTERS,
            }
        )

    async def figures(self, request: Request) -> JSONResponse:
        """Returns what the model can do."""
        return JSONResponse(await asyncio.to_thread(measurements, self.model, self.solver.record))

    async def list_runs(self, request: Request) -> JSONResponse:
        """Returns the runs that can be followed."""
        return JSONResponse(await asyncio.to_thread(self.runs.names))

    async def read_run(self, request: Request) -> JSONResponse:
        """Returns the curves of one run."""
        return JSONResponse(await asyncio.to_thread(self.runs.read, request.path_params["name"]))

    async def ask(self, request: Request) -> Response:
        """Answers a question: a stream of server-sent events, each a list of messages."""
        visit = Visit(read_question(await _body(request)))
        self.worker.enter(visit)
        return StreamingResponse(self._stream(request, visit), media_type="text/event-stream")

    async def _stream(self, request: Request, visit: Visit) -> AsyncIterator[str]:
        """Sends messages as they come. However it ends, nothing is left running."""
        ahead = -1
        try:
            while True:
                now_ahead = self.worker.ahead_of(visit)
                if now_ahead != ahead:
                    ahead = now_ahead
                    yield _event([{"kind": "waiting", "ahead": ahead}])
                messages = await visit.receive(_PULSE)
                if messages is None:
                    return
                if messages:
                    yield _event(messages)
                    await asyncio.sleep(_GATHER)
                elif await request.is_disconnected():
                    return
                else:
                    yield ": nothing new\n\n"  # a comment, which fails if nobody reads it
        finally:
            self.worker.leave(visit)


def _event(messages: list[Message]) -> str:
    return f"data: {json.dumps(messages, separators=(',', ':'))}\n\n"


async def _body(request: Request) -> bytes:
    """Returns the body of a request, of bounded size.

    Raises:
        ConfigurationError: If it is larger, of another type, or does not come.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ConfigurationError(f"Content-Type {kind[:40]!r}; expected application/json")
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ConfigurationError(f"a body of more than {MAX_BODY} bytes; expected a question")
    except (TimeoutError, ClientDisconnect) as error:
        raise ConfigurationError("a body that does not come; expected a question") from error
    return body


async def _mistake(status: int, request: Request, error: Exception) -> JSONResponse:
    """Turns an error into one line. What is left of the body is not read: the connection ends."""
    headers = {"Connection": "close"}
    return JSONResponse({"error": " ".join(str(error).split())}, status, headers)


def create_app(solver: Solver, model: Path, runs: Path, hosts: tuple[str, ...], limits: Limits | None = None) -> Any:
    """Returns the application.

    Args:
        solver: The model.
        model: Its file, or the folder of its run.
        runs: The folder of runs that the page follows.
        hosts: Names and ports under which the page is served, as ``127.0.0.1:8000``.
        limits: What a question may cost, and how many visitors may wait.
    """
    playground = Playground(solver, model, runs, limits or Limits())
    routes = [
        Route("/api/about", playground.about),
        Route("/api/figures", playground.figures),
        Route("/api/runs", playground.list_runs),
        Route("/api/runs/{name}", playground.read_run),
        Route("/api/ask", playground.ask, methods=["POST"]),
        Route("/favicon.ico", _no_icon),
    ]
    for path, name in _STATIC.items():
        content = files("o1nano.playground").joinpath("static", name).read_bytes()
        routes.append(Route(path, partial(_file, content, _TYPES[name.partition(".")[2]])))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={
            BusyError: partial(_mistake, 503),
            O1NanoError: partial(_mistake, 400),
        },
        lifespan=playground.lifespan,
    )


async def _file(content: bytes, media_type: str, request: Request) -> Response:
    return Response(content, media_type=media_type)


async def _no_icon(request: Request) -> Response:
    """Browsers ask for it, and would report an error."""
    return Response(status_code=204)
