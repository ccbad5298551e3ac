"""Access control of the page: this machine, with the token that the terminal showed."""

from __future__ import annotations

import asyncio
import secrets

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"policy of the app's own pages: nothing inline, nothing from elsewhere"
DOCUMENT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'self'; sandbox"
)
"policy of reports, which are single files with inline style: no script runs in them"
SAFE = ("GET", "HEAD")


class Guard:
    """Lets requests with the token from this machine's own page through; adds headers that make browsers block others.

    The token comes in the address that the terminal shows, and stays in a cookie that no script and no other site can
    read. `Host` must name the loopback address: a site whose name was pointed there (DNS rebinding) is refused.
    Requests that change something must come from a page of the app (`Origin`).

    Args:
        token: secret of this start of the app. port: its port.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.cookie = f"expunge-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", POLICY)
                headers.setdefault("cache-control", "no-store")
                headers["x-content-type-options"] = "nosniff"
                # Without a referrer at all, browsers send "null" as the origin of the app's own forms.
                headers["referrer-policy"] = "same-origin"
                headers["cross-origin-resource-policy"] = "same-origin"
            await send(message)

        refused = self._refused(scope)
        try:
            await (self.app if refused is None else refused)(scope, receive, sent)
        except asyncio.CancelledError:
            # Ctrl-C during an answer: it is ended properly, and the server prints no exception.
            if begun:
                await send({"type": "http.response.body", "body": b""})
            else:
                await PlainTextResponse("The app is ending.\n", 503)(scope, receive, sent)

    def _refused(self, scope: Scope) -> Response | None:
        """The response to a refused request."""
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        host = headers.get("host", "")
        if host not in self.hosts:
            return PlainTextResponse("This app answers on the loopback address only.\n", 400)
        if "token" in query:
            if not self._same(query["token"]):
                return self._without_token()
            answer = RedirectResponse(scope["path"], 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._same(self._cookie(headers)):
            return self._without_token()
        if scope["method"] not in SAFE and headers.get("origin") != f"http://{host}":
            return PlainTextResponse("This must come from a page of the app.\n", 403)
        return None

    def _cookie(self, headers: Headers) -> str:
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == self.cookie), "")

    def _same(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    @staticmethod
    def _without_token() -> Response:
        return PlainTextResponse("Open the address with the token that `expunge app` printed in the terminal.\n", 403)
