"""The ledger: requests to forget, their deadlines and outcomes. States follow from the chain's events."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from expunge.core import storage
from expunge.errors import RecipeError, RunError
from expunge.requests import chain, private
from expunge.requests.chain import Chain, Event
from expunge.requests.order import note_returned, refuse_fork, refuse_late_end
from expunge.requests.private import Private, salted, salted_file
from expunge.requests.states import (
    MONTHS,
    MORE_MONTHS,
    STATE_AFTER,
    add_months,
    name_of,
    refuse_event,
)

LONGEST = 1000
"characters of a reason or of other words"


class Request(NamedTuple):
    """A request's state, from its events.

    Attributes:
        number: from 1.
        state: open, running, passed, failed, refused or closed.
        due: the current deadline.
    """

    number: int
    state: str
    due: date

    @property
    def name(self) -> str:
        return name_of(self.number)


class Ledger:
    """An open ledger. Use it with `closing`.

    Attributes:
        path: its folder.
        private: who asked, and the files' paths.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = Private(path / "private")
        self.chain = Chain.open(path / "ledger.sqlite")
        self._key: bytes | None = None

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger in a folder. Raises `RunError` if there is none."""
        with storage.reading(path):
            if not (path / "ledger.sqlite").is_file():
                raise RunError(
                    f"there is no ledger in {path}",
                    next_step="give --ledger FOLDER; `expunge request add` makes a new one",
                )
        return cls(path)

    @classmethod
    def open_or_create(cls, path: Path) -> Ledger:
        """The ledger in a folder, created if there is none, by one of several processes."""
        if not (path / "ledger.sqlite").is_file():
            with storage.storage_errors(path, "choose another --ledger"):
                path.mkdir(parents=True, exist_ok=True)
                with open(path / ".lock", "w") as handle:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                    if not (path / "ledger.sqlite").is_file():
                        (path / "private").mkdir(mode=0o700, exist_ok=True)
                        if not (path / "key").is_file():
                            storage.write_own(path / "key", secrets.token_hex(32).encode() + b"\n")
                        chain.create(path / "ledger.sqlite")
                        storage.flush_folder(path)
        return cls(path)

    def close(self) -> None:
        self.chain.close()

    @property
    def key(self) -> bytes:
        """The key that digests are made with."""
        if self._key is None:
            self._key = private.read_key(self.path / "key")
        return self._key

    # Reading

    def requests(self, numbers: Sequence[int] | None = None) -> list[Request]:
        """All requests, or those of some numbers, in order. Raises `RunError` for one that does not exist."""
        some = "" if numbers is None else f" AND request IN ({', '.join(str(int(each)) for each in numbers)})"
        # All of it is in the index, in this order.
        rows = self.chain.query(f"SELECT request, kind, due FROM events WHERE request > 0{some} ORDER BY request, seq")
        states = {request: STATE_AFTER[kind] for request, kind, _ in rows if kind in STATE_AFTER}
        due = {request: day for request, _, day in rows if day is not None}
        if lacking := sorted(set(states) - set(due)):
            raise RunError(
                f"the ledger is broken: {name_of(lacking[0])} was never added",
                next_step=f"expunge request check --ledger {self.path}",
            )
        found = [Request(request, state, date.fromisoformat(due[request])) for request, state in states.items()]
        if lacking := sorted(set(numbers or ()) - {each.number for each in found}):
            raise RunError(
                f"there is no request {name_of(lacking[0])} in {self.path}", next_step="expunge request list"
            )
        return found

    def request(self, number: int) -> Request:
        return self.requests([number])[0]

    def events_of(self, number: int) -> list[Event]:
        return self.chain.events("request = ?", (number,))

    def of_subject(self, subject: str) -> set[int]:
        """Numbers of the requests of a person, closed ones too."""
        wanted = salted(self.key, "subject", subject.encode())
        return {each.request for each in self.chain.events("kind = 'added'") if each.content["subject"] == wanted}

    def last(self, number: int, kind: str) -> dict[str, Any] | None:
        """The body of the last event of a kind of a request."""
        found = self.chain.events("request = ? AND kind = ?", (number, kind))
        return found[-1].content if found else None

    def running_as(self, name: str) -> list[int]:
        """Requests whose run has started and is still running."""
        rows = self.chain.events("kind = 'started'")
        last = {each.request: each.content["name"] for each in rows}
        numbers = [request for request, begun in last.items() if begun == name]
        return [each.number for each in self.requests(numbers) if each.state == "running"]

    # Writing

    def add(
        self,
        subject: str,
        files: Sequence[Path],
        due: date | None = None,
        received: date | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Request, bool]:
        """Add a request; (it, whether it is new).

        Args:
            subject: who asks, by your own id.
            files: files or folders with the text to forget.
            due: the deadline; default: a month after `received`.
            received: the day on which the request came; default: today.
            idempotency_key: a second request with the same key is the first one.
        """
        if not subject.strip():
            raise RecipeError("a request needs a subject", next_step="give --subject ID")
        received = received or date.today()
        due = due or add_months(received, MONTHS)
        if due < received:
            raise RecipeError("the deadline is before the request", seen=due, allowed=f"{received} or later")
        from expunge.requests.reading import (
            refuse_by_sight,  # readers of files take longer to load than a list to print
        )

        listed = private.list_files(files)
        for file in listed:
            refuse_by_sight(file)
        body = {
            "subject": salted(self.key, "subject", subject.encode()),
            "files": [{"digest": salted_file(self.key, file), "bytes": file.stat().st_size} for file in listed],
            "received": received.isoformat(),
        }
        key = None if idempotency_key is None else salted(self.key, "key", idempotency_key.encode())
        with self.chain.writing():
            if key is not None and (held := self.chain.events("key = ?", (key,))):
                same = {name: held[0].content[name] for name in ("subject", "files")}
                if same != {name: body[name] for name in ("subject", "files")}:
                    raise RecipeError(
                        f"{name_of(held[0].request)} has this idempotency key, and another subject or other files",
                        next_step="give another key, or the files that it was added with",
                    )
                return self.request(held[0].request), False
            number = self.chain.query("SELECT coalesce(max(request), 0) + 1 FROM events")[0][0]
            # First: a crash in between leaves a note without a request, and not a request without known files.
            self.private.write(number, subject, listed)
            self.chain.append("added", number, body, due.isoformat(), key)
            return self.request(number), True

    def extend(self, number: int, reason: str, to: date | None = None) -> Request:
        """Move the deadline, with a reason, by two months at most after the first one."""
        with self._may("extended", number):
            first, now = self._first_due(number), self.request(number).due
            latest = add_months(first, MORE_MONTHS)
            day = to or latest
            if not now < day <= latest:
                raise RecipeError(
                    f"the deadline of {name_of(number)} cannot be {day}",
                    seen=f"{now} now, {first} at first",
                    allowed=f"later than now, and {latest} at most (two months more, GDPR Art. 12(3))",
                )
            self.chain.append("extended", number, {"reason": _words(reason)}, day.isoformat())
        return self.request(number)

    def refuse(self, number: int, reason: str) -> Request:
        """Refuse a request, with the reason stated to the person."""
        with self._may("refused", number):
            self.chain.append("refused", number, {"reason": _words(reason)})
        return self.request(number)

    def close_request(self, number: int, reason: str | None = None) -> Request:
        """End a request, and delete who asked and the files' paths.

        If killed in between it is not closed, and can be closed again; a closed one is cleared again.
        """
        if (state := self.request(number).state) != "closed":
            if state not in ("passed", "refused") and reason is None:
                raise RecipeError(
                    f"{name_of(number)} is {state}, neither passed nor refused",
                    next_step="run it, refuse it, or give --reason for closing it as it is",
                )
            with self._may("closed", number):
                self.chain.append("closed", number, {} if reason is None else {"reason": _words(reason)})
                self.private.remove(number)
        else:
            self.private.remove(number)
        return self.request(number)

    def note(self, kind: str, numbers: Sequence[int], body: dict[str, Any]) -> None:
        """Append an event for each of several requests, for all or for none.

        Raises:
            RunError: not allowed in the state of one of them, or in this order of runs (`order`).
        """
        with self.chain.writing():
            found = self.requests(numbers)
            for each in found:
                refuse_event(kind, each.number, each.state)
            if kind == "started":
                refuse_fork(self.chain, body)
            elif kind in ("passed", "failed"):
                refuse_late_end(self.chain, kind, numbers, body)
            for each in found:
                self.chain.append(kind, each.number, body)
            if kind == "passed":
                note_returned(self.chain, body)

    def reopen(self, number: int, reason: str) -> list[int]:
        """Give up the run of a request that cannot continue: all its requests are open again; return them."""
        started = self.last(number, "started")
        numbers = [number] if started is None else self.running_as(started["name"])
        self.note("reopened", numbers or [number], {"reason": _words(reason)})
        return numbers

    def note_copy(self, model: str, kind: str, where: str, tell: str) -> int:
        """Note a copy of a model, where it is, and who must be informed; return its number."""
        body = {"model": model, "kind": kind, "where": _words(where), "tell": _words(tell)}
        with self.chain.writing():
            return self.chain.append("copy", 0, body).seq

    def told(self, number: int, copy: int) -> None:
        """Note that the holder of a copy was informed of a request."""
        if copy not in {each.seq for each in self.copies()}:
            raise RecipeError(
                f"no copy {copy} was noted", next_step=f"expunge request show {name_of(number)} lists them"
            )
        self.note("told", [number], {"copy": copy})

    def copies(self) -> list[Event]:
        return self.chain.events("kind = 'copy'")

    # Checking

    def findings(self, head: str | None = None) -> tuple[list[str], int, str]:
        """(problems, number of events, digest of the last one).

        Args:
            head: an earlier last digest; a ledger that was cut or rewritten before it does not have it.
        """
        with self.chain.writing():  # an add writes its private file first: nobody may be between the two
            return self._findings(head)

    def _findings(self, head: str | None) -> tuple[list[str], int, str]:
        found, count, last = self.chain.broken()
        if head is not None and not self.chain.events("digest = ?", (head,)):
            found.append(f"no event has the digest {head}: events were cut off or rewritten")
        states: dict[int, str] = {}
        for seq, request, kind in self.chain.query("SELECT seq, request, kind FROM events WHERE request ORDER BY seq"):
            try:
                refuse_event(kind, request, states.get(request, "new"))
            except (RunError, KeyError):
                found.append(f"event {seq}: {kind}, where {name_of(request)} is {states.get(request, 'new')}")
            states[request] = STATE_AFTER.get(kind, states.get(request, "new"))
        try:
            _ = self.key
        except RunError as error:
            found.append(error.what)
        noted = self.private.numbers()
        for request, state in states.items():
            if state == "closed" and request in noted:
                found.append(f"{name_of(request)} is closed, and who asked is still noted: close it again")
            if state != "closed" and request not in noted:
                found.append(f"{name_of(request)} is {state}, and private/ does not have its files' paths")
        for request, file in self.private.left_over():
            if states.get(request) == "closed":
                found.append(
                    f"{name_of(request)} is closed, and {file.relative_to(self.path)} still exists: close it again"
                )
            elif file.parent == self.private.path:
                found.append(f"{file.relative_to(self.path)} was left by a crash: delete it")
        found += [f"private/{name_of(each)}.json belongs to no request" for each in sorted(noted - set(states))]
        return found, count, last

    def due_by(self, day: date) -> list[Request]:
        """Requests to be answered by a day, including overdue ones."""
        return [each for each in self.requests() if each.state in ("open", "running", "failed") and each.due <= day]

    @contextlib.contextmanager
    def _may(self, kind: str, number: int) -> Iterator[None]:
        """Context for writing, if the event is allowed for the request now."""
        with self.chain.writing():
            refuse_event(kind, number, self.request(number).state)
            yield

    def _first_due(self, number: int) -> date:
        return date.fromisoformat(self.events_of(number)[0].due or "")


def _words(text: str) -> str:
    if not text.strip() or len(text) > LONGEST:
        raise RecipeError("a reason or note is empty or too long", allowed=f"1 to {LONGEST} characters")
    return " ".join(text.split())


def soon(days: int, option: str = "--within") -> date:
    """The day this many days from today. Raises `RecipeError` that names the option if there is no such day."""
    try:
        return date.today() + timedelta(days=days)
    except OverflowError as error:
        raise RecipeError(f"{option} does not give a date", seen=f"{days} days", allowed="a number of days") from error
