"""Who is let in: this machine's own page, with the token."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from asking import HOST, TOKEN, ask

from expunge.app.guard import Guard
from expunge.app.server import make_site, serve


@pytest.fixture
def site(tmp_path: Path) -> Any:
    return make_site(tmp_path, TOKEN, 80)


def test_the_token_in_the_address_becomes_a_cookie(site: Any) -> None:
    answer = ask(site, f"/?token={TOKEN}", headers={"cookie": ""})
    assert answer.status == 303
    assert answer.headers["location"] == "/", "it does not stay in the address"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"expunge-80={TOKEN};")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert ask(site, "/").status == 200


@pytest.mark.parametrize("cookie", ["", "expunge-80=", "expunge-80=secreT", "expunge-81=secret", "other=1; x"])
@pytest.mark.parametrize("path", ["/", "/static/run.js", "/style.css", "/runs/a/report", "/methods", "/?token=wrong"])
def test_without_the_token_nothing_is_shown(site: Any, cookie: str, path: str) -> None:
    answer = ask(site, path, headers={"cookie": cookie})
    assert answer.status == 403
    assert "expunge app" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:81", ""])
def test_another_host_is_refused_even_with_the_token(site: Any, host: str) -> None:
    assert ask(site, "/", headers={"host": host}).status == 400
    assert ask(site, f"/?token={TOKEN}", headers={"host": host}).status == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:80", "http://127.0.0.1:81", ""])
def test_what_changes_something_must_come_from_the_page(site: Any, origin: str, tmp_path: Path) -> None:
    answer = ask(site, "/new", "POST", {"forget": "x", "name": "x"}, headers={"origin": origin})
    assert answer.status == 403
    assert list(tmp_path.iterdir()) == []
    assert ask(site, "/", headers={"origin": origin}).status == 200, "looking changes nothing"


def test_every_page_says_what_a_browser_may_do(site: Any) -> None:
    for path in ("/", "/new", "/static/app.css", "/runs/none", f"/?token={TOKEN}", "/nothing"):
        headers = ask(site, path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_pages_hold_nothing_inline_and_nothing_from_elsewhere() -> None:
    import expunge.app.server as server

    for path in [*(server.HERE / "templates").iterdir(), *(server.HERE / "static").iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
        if path.suffix == ".jinja":
            assert " style=" not in text
            assert " on" + "click" not in text
            assert "|safe" not in text


def test_the_host_may_be_written_as_localhost(site: Any) -> None:
    assert ask(site, "/", headers={"host": "localhost:80"}).status == 200


@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_that_is_cut_short_when_the_app_ends_is_ended_in_order(begun: bool) -> None:
    sent: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def cut() -> None:
        headers = [(b"host", HOST.encode()), (b"cookie", f"expunge-80={TOKEN}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/methods", "query_string": b"", "headers": headers}
        task = asyncio.ensure_future(Guard(slow, TOKEN, 80)(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        await task  # raises nothing

    asyncio.run(cut())
    assert sent[0]["status"] == (200 if begun else 503)
    assert sent[-1]["type"] == "http.response.body"
    assert not sent[-1].get("more_body")


@pytest.mark.enable_socket
def test_the_address_that_is_told_is_listened_on(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def ready(address: str) -> None:
        with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0), timeout=5):
            raise EnoughError

    with pytest.raises(EnoughError):
        serve(tmp_path, 0, ready)
