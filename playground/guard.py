"""Lets nobody in but the page itself: other sites, other names of this machine and large bodies are refused."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """Checks every request before the application sees it, and adds headers to every response.

    A page of another site can make a browser send requests here. Its ``Origin`` tells, and so does ``Sec-Fetch-Site``.
    A name of another site that points to this machine ("DNS rebinding") is told by ``Host``.

    Args:
        app: The application.
        hosts: Names and ports under which the page is served.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = tuple(hosts)
        self.origins = tuple(f"http://{host}" for host in self.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] != "http":
            return  # no WebSocket is accepted here
        reason = self._refusal(scope)
        if reason:
            response = JSONResponse({"error": reason}, 403)
            await response(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> str:
        """Returns why a request is refused; nothing if it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        if host not in self.hosts:
            return f"Host {host[:80]!r}; expected {self.hosts[0]}"
        if origin is not None and origin not in self.origins:
            return f"Origin {origin[:80]!r}; expected {self.origins[0]}"
        if origin is None and scope["method"] not in ("GET", "HEAD"):
            return f"no Origin; expected {self.origins[0]}"
        # A link from elsewhere may open the page, but nothing else.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return "a request of another site; expected one of this page"
        return ""
