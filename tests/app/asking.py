"""Requests to an ASGI application without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

HOST = "127.0.0.1:80"
TOKEN = "secret"


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    def lines(self) -> list[Any]:
        """JSON lines."""
        return [json.loads(line) for line in self.text.splitlines()]


def ask(
    app: Any,
    path: str,
    method: str = "GET",
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    leave_after: int | None = None,
) -> Answer:
    """One request with the token in its cookie, unless `headers` say otherwise; leave after so many pieces of the body."""
    path, _, query = path.partition("?")
    sent = {"host": HOST, "cookie": f"expunge-80={TOKEN}", "origin": f"http://{HOST}"} | dict(headers or {})
    if form is not None:
        sent["content-type"] = "application/x-www-form-urlencoded"
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    answer = Answer()

    async def run() -> None:
        left, pieces = asyncio.Event(), 0
        body = [{"type": "http.request", "body": urlencode(form or {}).encode(), "more_body": False}]

        async def receive() -> dict[str, Any]:
            if body:
                return body.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal pieces
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                pieces += bool(message.get("body"))
                if leave_after is not None and pieces >= leave_after:
                    left.set()

        await app(scope, receive, send)

    asyncio.run(run())
    return answer
