"""What stands before every request: who may ask, from which page, and how much is read of it.

A server on a laptop is reached by every page that its owner's browser shows. So a request has to
name this server as its host (else a foreign name may have been pointed here), must not come from
another page, and, where other machines reach the server, has to bring a token.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from brainldm.serve.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "brainldm_token"
OPEN = frozenset({"/v1/health/live", "/v1/health/ready"})
"""What needs no token."""
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Lets through what may be asked of an application.

    Args:
        app: the application.
        hosts: names with ports that this server has; None takes any, where a token is needed.
        token: that a request has to bring; None for none.
        limits: of what is read of a request.
    """

    def __init__(
        self, app: App, hosts: frozenset[str] | None, token: str | None, limits: Limits
    ) -> None:
        self._app, self._hosts, self._token, self._limits = app, hosts, token, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        if scope["path"] == "/" and self._token and "token=" in scope["query_string"].decode():
            await self._welcome(send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self._app(scope, self._bounded(scope["path"], receive), sent)

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and host not in self._hosts:
            return 421, (
                f"This server is not {host!r}: expected one of {', '.join(sorted(self._hosts))}."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return 403, f"A page of {origin} may not ask this server: expected one of its own."
        arrives = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not arrives:
            return 403, "Another page may not ask this server: expected one of its own."
        if self._token and scope["path"] not in OPEN and not self._known(scope, headers):
            return 401, (
                "This server needs its token: expected it as 'Authorization: Bearer TOKEN', or in "
                "the address that `brainldm serve` printed."
            )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._limits.bytes_of(scope["path"]):
            return 413, self._too_large(scope["path"])
        return None

    def _known(self, scope: Message, headers: dict[str, str]) -> bool:
        given = [headers.get("authorization", "").removeprefix("Bearer ")]
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        if COOKIE in cookies:
            given.append(cookies[COOKIE].value)
        if scope["path"] == "/":
            given += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        expected = (self._token or "").encode()
        return any(hmac.compare_digest(each.encode(), expected) for each in given)

    async def _welcome(self, send: Send) -> None:
        """Keep the token in a cookie, out of the address and of what is copied from it."""
        cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), *HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _bounded(self, path: str, receive: Receive) -> Receive:
        left = self._limits.bytes_of(path)

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_large(path))  # the application answers
            return message

        return bounded

    def _too_large(self, path: str) -> str:
        return f"More was sent than is read: expected {self._limits.bytes_of(path)} bytes at most."


async def _answer(send: Send, status: int, error: str) -> None:
    headers = [(b"content-type", b"application/json"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})
