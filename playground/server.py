"""Serves the page on this machine only."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from o1nano.envs.errors import ConfigurationError
from o1nano.playground.answering import Answering, Limits
from o1nano.playground.app import create_app
from o1nano.policies.search.solver import Solver

ADDRESS = "127.0.0.1"
_CONNECTIONS = 64  # open at the same time


def serve(solver: Solver, model: Path, runs: Path, port: int, say: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C.

    Args:
        solver: The model.
        model: Its file, or the folder of its run.
        runs: The folder of runs that the page follows.
        port: Where to listen; 0 for a free port.
        say: Called with the address of the page, once it is served.

    Raises:
        ConfigurationError: If the port cannot be used.
    """
    with _listen(port) as listener:
        bound = listener.getsockname()[1]
        limits = Limits()
        Answering(solver, limits).warm_up()
        app = create_app(solver, model, runs, (f"{ADDRESS}:{bound}", f"localhost:{bound}"), limits)
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        say(f"http://{ADDRESS}:{bound}/")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"--port {port}: {error.strerror}; expected a free port, or 0 for any") from error
    listener.listen()
    return listener
