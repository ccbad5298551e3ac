"""An append-only chain of events in SQLite: each has the digest of the one before it.

Write-ahead log and `synchronous = FULL`: an appended event is on the disk, and never only in
part. SQLite lets one process write at a time; the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from expunge.errors import RunError, StorageError

PATIENCE = 120.0
"seconds to wait while other processes write"
FIRST = "0" * 64
"the first event's value instead of a digest"
SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    request INTEGER NOT NULL,
    kind TEXT NOT NULL,
    due TEXT,
    key TEXT UNIQUE,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE INDEX events_of ON events (request, seq, kind, due);
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
"""


class Event(NamedTuple):
    """One event.

    Attributes:
        seq: its number, from 1.
        at: when, UTC.
        request: number of its request; 0 if it has none.
        kind: what happened.
        due: a deadline that it sets.
        key: digest of an idempotency key that it came with.
        body: further facts, as JSON.
        previous: digest of the event before it.
        digest: of this one.
    """

    seq: int
    at: str
    request: int
    kind: str
    due: str | None
    key: str | None
    body: str
    previous: str
    digest: str

    def computed(self) -> str:
        """sha256 of everything else in the event, as a JSON list."""
        text = json.dumps(self[:-1], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        """The body, read."""
        return json.loads(self.body)


def create(path: Path) -> None:
    """A new chain with its first event; the file is there when it is whole."""
    aside = path.parent / f".{path.name}.aside-{secrets.token_hex(4)}"
    with _explained(path), contextlib.closing(sqlite3.connect(aside, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
        Chain(path, connection).append("created", body={"ledger": secrets.token_hex(16), "format": 1})
    os.replace(aside, path)


class Chain:
    """An open chain. Use it with `closing`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def open(cls, path: Path) -> Chain:
        """Open the chain in an existing file."""
        with _explained(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None
            )
            connection.execute("PRAGMA synchronous = FULL")
        return cls(path, connection)

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Context without other writers; all appended events are on the disk at its end, or none."""
        with _explained(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def append(
        self,
        kind: str,
        request: int = 0,
        body: Mapping[str, Any] | None = None,
        due: str | None = None,
        key: str | None = None,
    ) -> Event:
        """Append an event, inside `writing`."""
        last = self.connection.execute("SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (last[0] + 1, last[1]) if last else (1, FIRST)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps(body or {}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        event = Event(seq, at, request, kind, due, key, text, previous, "")
        event = event._replace(digest=event.computed())
        self.connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", event)
        return event

    def query(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Rows of a query."""
        with _explained(self.path):
            return self.connection.execute(sql, values).fetchall()

    def events(self, where: str = "1", values: tuple[Any, ...] = ()) -> list[Event]:
        """Events that a condition picks, in order."""
        return [Event(*row) for row in self.query(f"SELECT * FROM events WHERE {where} ORDER BY seq", values)]

    def broken(self) -> tuple[list[str], int, str]:
        """(problems of the links, number of events, digest of the last one)."""
        found: list[str] = []
        seq, previous = 0, FIRST
        with _explained(self.path):
            for row in self.connection.execute("SELECT * FROM events ORDER BY seq"):
                event = Event(*row)
                if event.seq != seq + 1:
                    missing = f"event {seq + 1}" if event.seq == seq + 2 else f"events {seq + 1} to {event.seq - 1}"
                    found.append(f"{missing}: not in the ledger")
                elif event.previous != previous:
                    found.append(f"event {event.seq}: does not have the digest of event {seq}")
                if event.computed() != event.digest:
                    found.append(f"event {event.seq}: does not match its digest")
                seq, previous = event.seq, event.digest
        return found, seq, previous


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise RunError(
                f"other processes have been writing to {path} for {PATIENCE:.0f} s", next_step="run the command again"
            ) from error
        raise StorageError(
            f"cannot read or write {path}",
            seen=error,
            next_step="check that the disk has space, and that you may write there",
        ) from error
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"{path} is damaged, or not a ledger", seen=error, next_step="restore it from a backup"
        ) from error
