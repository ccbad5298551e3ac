"""Routes of the page, and how it is served."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from expunge.app import drafts
from expunge.app.asked import MOST as MOST_ROWS
from expunge.app.asked import asked
from expunge.app.chat import Chat, cannot, needs
from expunge.app.guard import DOCUMENT, Guard
from expunge.app.jobs import Jobs
from expunge.app.listing import Listing, Row
from expunge.app.pages import page
from expunge.app.progress import progress_of
from expunge.errors import ExpungeError, RunError
from expunge.runs.folder import RunFolder

HERE, LEDGER = Path(__file__).parent, Path("ledger")
LOOK = 1.0
"seconds between two updates of a running run"
MOST = 1_000_000
"maximum bytes of a form"


class Site:
    """The pages about the runs below one folder."""

    def __init__(self, root: Path, ledger: Path) -> None:
        self.root, self.ledger = root.resolve(), ledger.absolute()
        self.listing, self.jobs, self.chat = Listing(self.root), Jobs(self.root), Chat()

    def routes(self) -> list[Route | Mount]:
        """Every page."""
        run = "/runs/{name:path}"
        return [
            Route("/", self.index),
            Route("/compare", self.compare),
            Route("/requests", self.requests),
            Route("/new", self.new, methods=["GET", "POST"]),
            Route("/drafts/{name}", self.draft, methods=["GET", "POST"]),
            Route("/drafts/{name}/plan", self.plan),
            Route("/methods", self.methods),
            Route("/style.css", self.style),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            Route(f"{run}/report", self.report),
            Route(f"{run}/audit", self.audit),
            Route(f"{run}/progress", self.progress),
            Route(f"{run}/chat", self.chat_page),
            Route(f"{run}/answer", self.answer, methods=["POST"]),
            Route(f"{run}/start", self.start, methods=["POST"]),
            Route(f"{run}/stop", self.stop, methods=["POST"]),
            Route(run, self.run),
        ]

    async def index(self, request: Request) -> Response:
        rows = await run_in_threadpool(self.listing.rows)
        found = await run_in_threadpool(asked, self.ledger, self._name_of)
        return page("index.html.jinja", rows=rows, root=str(self.root), requests=found if found.rows else None)

    async def requests(self, request: Request) -> Response:
        found = await run_in_threadpool(asked, self.ledger, self._name_of)
        every = "all" in request.query_params
        rows = found.shown(every)
        return page(
            "requests.html.jinja",
            ledger=str(self.ledger),
            error=found.error,
            rows=found.rows,
            shown=rows[:MOST_ROWS],
            of=len(rows),
            waiting=found.waiting,
            overdue=found.overdue,
            answered=len(found.rows) - found.waiting,
            all=every,
        )

    async def run(self, request: Request) -> Response:
        folder = self._folder(request)
        row = await run_in_threadpool(self._row, folder)
        return page(
            "run.html.jinja",
            row=row,
            report=folder.report.is_file(),
            can_stop=self.jobs.can_stop(row.name),
            printed=self.jobs.printed(row.name),
            can_ask=cannot(folder) is None,
        )

    async def report(self, request: Request) -> Response:
        return _document(self._folder(request).report)

    async def audit(self, request: Request) -> Response:
        return _document(self._folder(request).audit / "report.html")

    async def compare(self, request: Request) -> Response:
        from expunge.report.compare import compare_runs

        folders = [self._named(name) for name in request.query_params.getlist("run")]
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "compare.html"
            await run_in_threadpool(compare_runs, folders, out)
            return _document(out)

    async def progress(self, request: Request) -> Response:
        folder = self._folder(request)
        return StreamingResponse(self._progress(request, folder), media_type="text/event-stream")

    async def _progress(self, request: Request, folder: RunFolder) -> AsyncIterator[str]:
        sent = ""
        while not await request.is_disconnected():
            row = await run_in_threadpool(self._row, folder)
            progress = await run_in_threadpool(progress_of, folder)
            progress |= {"state": row.state, "printed": self.jobs.printed(row.name), "ended": self.jobs.ended(row.name)}
            text = json.dumps(progress)
            if text != sent:
                sent = text
                yield f"data: {text}\n\n"
            else:
                yield ": still here\n\n"  # a broken connection is noticed when something is sent
            await asyncio.sleep(LOOK)

    async def chat_page(self, request: Request) -> Response:
        folder = self._folder(request)
        row = await run_in_threadpool(self.listing.row, folder)
        if (why := cannot(folder)) is not None:
            return page("chat.html.jinja", row=row, cannot=why)
        return page("chat.html.jinja", row=row, cannot=None, needs=await run_in_threadpool(needs, folder))

    async def answer(self, request: Request) -> Response:
        folder, asked = self._folder(request), await _fields(request)
        side = "after" if asked.get("side") == "after" else "before"
        stop = threading.Event()

        async def written() -> AsyncIterator[str]:
            try:
                pieces = self.chat.answer(folder, side, asked.get("question", ""), stop)  # type: ignore[arg-type]
                async for piece in iterate_in_threadpool(pieces):
                    yield json.dumps({"text": piece}) + "\n"
                yield json.dumps({"end": True}) + "\n"
            except ExpungeError as error:
                yield json.dumps({"error": str(error)}) + "\n"
            finally:
                stop.set()

        return StreamingResponse(written(), media_type="application/x-ndjson")

    async def new(self, request: Request) -> Response:
        if request.method == "GET":
            return page("new.html.jinja", given={}, error=None)
        given = await _fields(request)
        name = given.get("name", "").strip() or "run"
        try:
            path = self.jobs.draft(name)
            if (self.root / name).exists():
                raise RunError(f"there is a run named {name} already", next_step="choose another name")
            await run_in_threadpool(drafts.write_draft, path, given)
        except ExpungeError as error:
            return page("new.html.jinja", 400, given=given, error=str(error))
        return RedirectResponse(f"/drafts/{name}", 303)

    async def methods(self, request: Request) -> Response:
        """Names of methods for language models; a page does not wait for it, since torch is imported."""
        from expunge.runs.registry import working_on

        return JSONResponse(await run_in_threadpool(working_on, "causal_lm"))

    async def draft(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self._draft(name)
        error, text = None, path.read_text("utf-8", errors="replace")
        if request.method == "POST":
            text = (await _fields(request)).get("recipe", "").replace("\r\n", "\n")
            try:
                await run_in_threadpool(drafts.write_recipe, path, text)
                return RedirectResponse(f"/drafts/{name}", 303)
            except ExpungeError as refused:
                error = str(refused)
        return page("draft.html.jinja", 400 if error else 200, name=name, text=text, error=error)

    async def plan(self, request: Request) -> Response:
        path = self._draft(request.path_params["name"])
        return JSONResponse(await run_in_threadpool(drafts.plan_of, path))

    async def start(self, request: Request) -> Response:
        name = request.path_params["name"]
        folder = self.listing.find(name)
        recipe = self._draft(name) if folder is None else folder.recipe
        await run_in_threadpool(self.jobs.start, name, recipe)
        for _ in range(
            1200
        ):  # until the folder is there: a run imports torch first, which takes long on a busy machine
            if self.listing.find(name) is not None or self.jobs.ended(name) is not None:
                break
            await asyncio.sleep(0.1)
        if self.listing.find(name) is None:
            raise RunError("the run did not begin", seen=self.jobs.printed(name)[-1500:] or None)
        return RedirectResponse(f"/runs/{name}", 303)

    async def stop(self, request: Request) -> Response:
        folder = self._folder(request)
        name = folder.path.relative_to(self.root).as_posix()
        self.jobs.stop(name)
        return RedirectResponse(f"/runs/{name}", 303)

    async def style(self, request: Request) -> Response:
        from expunge.report.page import TEMPLATES

        return Response((TEMPLATES / "style.css").read_text("utf-8"), media_type="text/css")

    def _row(self, folder: RunFolder) -> Row:
        """A run; one whose process is still importing libraries is at work, too."""
        row = self.listing.row(folder)
        return replace(row, state="at work") if self.jobs.can_stop(row.name) else row

    def _draft(self, name: str) -> Path:
        path = self.jobs.draft(name)
        if not path.is_file():
            raise MissingError(f"there is no recipe named {name}")
        return path

    def _name_of(self, folder: str) -> str | None:
        """The name of a run folder below the root; None if it is not a run there."""
        path = Path(folder).resolve()
        if not path.is_relative_to(self.root):
            return None
        name = path.relative_to(self.root).as_posix()
        return None if self.listing.find(name) is None else name

    def _folder(self, request: Request) -> RunFolder:
        return self._named(request.path_params["name"])

    def _named(self, name: str) -> RunFolder:
        found = self.listing.find(name)
        if found is None:
            raise MissingError(f"there is no run named {name}")
        return found


class MissingError(RunError):
    """The requested page does not exist."""


async def refused(request: Request, error: Exception) -> Response:
    """The page of an error that explains itself."""
    return page("error.html.jinja", 404 if isinstance(error, MissingError) else 400, error=str(error))


def make_site(root: Path, token: str, port: int, ledger: Path = LEDGER) -> Callable[..., Any]:
    """The page as an ASGI application, for the runs below `root` and the requests of a ledger."""
    handlers: Any = {ExpungeError: refused}
    return Guard(Starlette(routes=Site(root, ledger).routes(), exception_handlers=handlers), token, port)


def serve(root: Path, port: int, ready: Callable[[str], None], ledger: Path = LEDGER) -> None:
    """Serve the page on the loopback address until it is interrupted.

    Args:
        port: 0 takes a free one. ready: called with the address, which contains the token.
        ledger: the folder whose requests are shown.

    Raises:
        RunError: the port is taken.
    """
    import uvicorn

    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(("127.0.0.1", port))
    except OSError as error:
        raise RunError(f"port {port} is taken", next_step="leave --port out: a free one is used then") from error
    with place:
        bound, token = place.getsockname()[1], secrets.token_urlsafe(24)
        config = uvicorn.Config(
            make_site(root, token, bound, ledger),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        # That answers were cut short is not an error where somebody ends the app.
        logging.getLogger("uvicorn.error").addFilter(lambda line: "graceful shutdown exceeded" not in line.getMessage())
        place.listen()  # early requests wait instead of being refused
        ready(f"http://127.0.0.1:{bound}/?token={token}")
        uvicorn.Server(config).run(sockets=[place])


def _document(path: Path) -> Response:
    """A report: a separate page, in which no script runs."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise MissingError(f"there is no {path.name} yet") from error
    return HTMLResponse(text, headers={"content-security-policy": DOCUMENT})


async def _fields(request: Request) -> dict[str, str]:
    """Fields of a form, or of a JSON object."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST:
            raise RunError("the form is too long", allowed=f"{MOST:,} bytes")
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = json.loads(body)
        except ValueError as error:
            raise RunError("the request is not JSON") from error
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    return dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))
