"""The ledger: states, deadlines, what it holds of a person, and what a broken chain says."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError, ExpungeError, RecipeError, RunError, StorageError
from expunge.requests.ledger import Ledger, soon
from expunge.requests.private import Private
from expunge.requests.states import add_months, number_of

SUBJECT, TEXT = "Ada Lovelace", "letters to Mr. Babbage"


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    file = tmp_path / "lovelace.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as opened:
        yield opened


def everything(folder: Path, without: str = "private") -> bytes:
    """All bytes of a folder and its names, but for one part."""
    found = [file for file in folder.rglob("*") if file.is_file() and without not in file.parts]
    return b"\n".join(str(file.relative_to(folder)).encode() + file.read_bytes() for file in found)


# Adding


def test_a_request_is_due_a_month_after_it_came(ledger: Ledger, letter: Path) -> None:
    made, new = ledger.add(SUBJECT, [letter], received=date(2026, 1, 31))
    assert (made.name, made.state, made.due, new) == ("R000001", "open", date(2026, 2, 28), True)
    assert ledger.add(SUBJECT, [letter], due=date(2030, 5, 6))[0].due == date(2030, 5, 6)
    assert [each.number for each in ledger.requests()] == [1, 2]


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        (date(2026, 12, 31), 2, date(2027, 2, 28)),
        (date(2027, 11, 30), 3, date(2028, 2, 29)),
        (date(2026, 5, 15), 1, date(2026, 6, 15)),
    ],
)
def test_months_end_where_there_is_no_such_day(day: date, months: int, then: date) -> None:
    assert add_months(day, months) == then


def test_an_idempotency_key_adds_once(ledger: Ledger, letter: Path) -> None:
    first = ledger.add(SUBJECT, [letter], idempotency_key="ticket 7")
    assert ledger.add(SUBJECT, [letter], idempotency_key="ticket 7") == (first[0], False)
    assert ledger.add(SUBJECT, [letter])[1]
    with pytest.raises(RecipeError, match="R000001 has this idempotency key, and another subject"):
        ledger.add("Somebody Else", [letter], idempotency_key="ticket 7")
    assert len(ledger.requests()) == 2


def test_a_folder_stands_for_its_files_and_nothing_is_refused_twice(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "mails" / "inbox"
    folder.mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "a.txt").write_text("a")
    (folder / ".hidden").write_text("h")
    (folder / "link.txt").symlink_to(folder / "a.txt")
    made, _ = ledger.add(SUBJECT, [folder.parent])
    noted = ledger.private.read(made.number)
    assert noted is not None
    assert [Path(file).name for file in noted["files"]] == ["a.txt", "b.txt"]
    with pytest.raises(DataError, match="no such file"):
        ledger.add(SUBJECT, [tmp_path / "gone.txt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no file in it"):
        ledger.add(SUBJECT, [tmp_path / "empty"])
    with pytest.raises(RecipeError, match="before the request"):
        ledger.add(SUBJECT, [folder], received=date(2026, 5, 2), due=date(2026, 5, 1))
    assert len(ledger.requests()) == 1


@pytest.mark.parametrize("call", ["scandir", "lstat"])
def test_a_folder_that_may_not_be_entered_is_an_error(
    call: str, ledger: Ledger, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = letter.parent / "mails" / "closed"
    closed.mkdir(parents=True)
    for file in (closed / "a.txt", closed.parent / "b.txt"):
        file.write_text("a letter")
    real = getattr(os, call)

    def refuse(path: str, *args: Any, **more: Any) -> Any:
        if str(path).startswith(str(closed)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(DataError, match="mails/closed") as raised:
        ledger.add(SUBJECT, [closed.parent])
    assert raised.value.seen == os.strerror(errno.EACCES)
    assert ledger.requests() == []


def test_days_beyond_the_calendar_are_refused(ledger: Ledger, letter: Path) -> None:
    with pytest.raises(RecipeError, match="1 months after 9999-12-31 is not a date"):
        ledger.add(SUBJECT, [letter], received=date.max)
    assert ledger.add(SUBJECT, [letter], received=date(9999, 11, 30))[0].due == date(9999, 12, 30)
    for days in (10**7, 10**12, -(10**7)):
        with pytest.raises(RecipeError, match="--within does not give a date"):
            soon(days)
    assert soon(1) > date.today()


@pytest.mark.parametrize(
    ("name", "content", "reason"), [("a.doc", b"\xd0\xcf", "only its program reads"), ("a.txt", b"", "empty")]
)
def test_what_can_be_seen_to_be_unreadable_is_not_added(
    name: str, content: bytes, reason: str, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as raised:
        ledger.add(SUBJECT, [tmp_path / name])
    assert reason in str(raised.value.seen)
    assert ledger.requests() == []
    assert ledger.private.numbers() == set()


# What is held of a person


def test_nothing_of_the_person_stands_outside_of_the_private_folder(ledger: Ledger, letter: Path) -> None:
    made, _ = ledger.add(SUBJECT, [letter], idempotency_key="ada@example.org")
    ledger.chain.query("PRAGMA wal_checkpoint(TRUNCATE)")
    held = everything(ledger.path)
    for word in (SUBJECT, "Lovelace", "lovelace.txt", TEXT, "ada@example.org", str(letter.parent / "lovelace")):
        assert word.encode() not in held
    assert SUBJECT.encode() in everything(ledger.path, without="nothing")  # the private folder has it
    assert ledger.of_subject(SUBJECT) == {made.number}
    assert ledger.of_subject("somebody else") == set()


def test_what_is_private_is_the_owners_alone(ledger: Ledger, letter: Path) -> None:
    ledger.add(SUBJECT, [letter])
    for path, mode in (
        (ledger.path / "key", 0o600),
        (ledger.private.path / "R000001.json", 0o600),
        (ledger.private.path, 0o700),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    (ledger.path / "key").chmod(0o644)
    with closing(Ledger.open(ledger.path)) as again, pytest.raises(RunError, match="others may read"):
        again.add(SUBJECT, [letter])


def test_digests_of_two_ledgers_have_nothing_in_common(ledger: Ledger, letter: Path, tmp_path: Path) -> None:
    ledger.add(SUBJECT, [letter])
    with closing(Ledger.open_or_create(tmp_path / "other")) as other:
        other.add(SUBJECT, [letter])
        one, two = (each.events_of(1)[0].content for each in (ledger, other))
    assert one["subject"] != two["subject"]
    assert one["files"][0]["digest"] != two["files"][0]["digest"]


def test_closing_deletes_who_asked_and_the_person_is_found_still(ledger: Ledger, letter: Path) -> None:
    ledger.add(SUBJECT, [letter])
    with pytest.raises(RecipeError, match="neither passed nor refused"):
        ledger.close_request(1)
    ledger.refuse(1, "needed for a legal claim, Art. 17(3)(e)")
    assert ledger.private.read(1) is not None
    assert ledger.close_request(1).state == "closed"
    assert ledger.private.read(1) is None
    assert letter.read_text(encoding="utf-8") == TEXT
    assert SUBJECT.encode() not in everything(ledger.path, without="nothing")
    assert ledger.of_subject(SUBJECT) == {1}
    # again, as after a crash between the two
    ledger.private.write(1, SUBJECT, [letter])
    assert ledger.findings()[0] == ["R000001 is closed, and who asked is still noted: close it again"]
    assert ledger.close_request(1).state == "closed"
    assert ledger.findings()[0] == []


def test_what_a_crash_left_of_a_request_is_named_and_goes_when_it_is_closed(ledger: Ledger, letter: Path) -> None:
    private = ledger.private.path
    left = private / ".R000001.json.aside-deadbeef"
    left.write_text("Somebody Else")  # of an add that was killed: the number is given again
    for _ in range(2):
        ledger.add(SUBJECT, [letter])
    assert not left.exists()
    left.write_text(SUBJECT)
    assert ledger.findings()[0] == ["private/.R000001.json.aside-deadbeef was left by a crash: delete it"]
    ledger.refuse(1, "no data of that person")
    ledger.close_request(1)
    assert not left.exists()
    # A run that was laid out and never noted has its files there, too.
    ledger.private.lay_out("R000001", [("R000001-1.txt", letter)])
    ledger.private.lay_out("R000001", [("R000002-1.txt", letter)])
    left.write_text(SUBJECT)
    assert sorted(ledger.findings()[0]) == [
        f"R000001 is closed, and private/{name} still exists: close it again"
        for name in (".R000001.json.aside-deadbeef", "files/R000001/R000001-1.txt")
    ]
    ledger.close_request(1)
    assert ledger.findings()[0] == []
    assert sorted(file.name for file in private.rglob("*") if file.is_file()) == ["R000002-1.txt", "R000002.json"]


# States


def test_a_deadline_moves_by_two_months_at_most(ledger: Ledger, letter: Path) -> None:
    ledger.add(SUBJECT, [letter], received=date(2026, 1, 10))
    assert ledger.extend(1, "many requests", date(2026, 3, 1)).due == date(2026, 3, 1)
    with pytest.raises(RecipeError, match="cannot be 2026-04-11"):
        ledger.extend(1, "more", date(2026, 4, 11))
    with pytest.raises(RecipeError, match="cannot be 2026-02-20"):
        ledger.extend(1, "less", date(2026, 2, 20))
    assert ledger.extend(1, "still many").due == date(2026, 4, 10)
    with pytest.raises(RecipeError, match="cannot be"):
        ledger.extend(1, "no further")
    assert [each.name for each in ledger.due_by(date(2026, 4, 10))] == ["R000001"]
    assert ledger.due_by(date(2026, 4, 9)) == []


@pytest.mark.parametrize(("kind", "words"), [("extended", "extended"), ("refused", "refused"), ("started", "started")])
def test_what_does_not_fit_a_state_is_refused(kind: str, words: str, ledger: Ledger, letter: Path) -> None:
    ledger.add(SUBJECT, [letter])
    ledger.refuse(1, "no data of that person")
    with pytest.raises(RunError, match=f"R000001 is refused: it cannot be {words}"):
        ledger.note(kind, [1], {})
    assert ledger.request(1).state == "refused"


def test_a_note_on_several_requests_is_made_for_all_or_none(ledger: Ledger, letter: Path) -> None:
    ledger.add(SUBJECT, [letter])
    ledger.add(SUBJECT, [letter])
    ledger.refuse(2, "twice the same")
    with pytest.raises(RunError, match="R000002"):
        ledger.note("started", [1, 2], {"name": "x", "run": "y", "base": "z"})
    assert ledger.request(1).state == "open"


def test_names_of_requests() -> None:
    assert [number_of(each) for each in ("R000012", "r12", "12")] == [12, 12, 12]
    for wrong in ("0", "R-1", "../1", "R1.json", ""):
        with pytest.raises(RecipeError):
            number_of(wrong)


def test_what_is_not_there_is_said(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no request R000009"):
        ledger.request(9)
    with pytest.raises(RunError, match="there is no ledger"):
        Ledger.open(tmp_path / "elsewhere")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match="damaged, or not a ledger"):
        Ledger.open(tmp_path / "damaged").requests()


# The chain


def change(ledger: Ledger, sql: str) -> None:
    """Change the file as somebody would who knows SQLite."""
    with closing(sqlite3.connect(ledger.path / "ledger.sqlite", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute("DROP TRIGGER no_delete")
        connection.execute(sql)


@pytest.fixture
def long_ledger(ledger: Ledger, letter: Path) -> Ledger:
    """Events 1 (created), 2 to 4 (added), 5 (refused)."""
    for _ in range(3):
        ledger.add(SUBJECT, [letter])
    ledger.refuse(2, "a legal claim")
    assert ledger.findings()[0] == []
    return ledger


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (
            "UPDATE events SET body = replace(body, 'legal', 'loyal') WHERE seq = 5",
            "event 5: does not match its digest",
        ),
        ("UPDATE events SET due = '2099-01-01' WHERE seq = 3", "event 3: does not match its digest"),
        ("UPDATE events SET at = at || ' ' WHERE seq = 1", "event 1: does not match its digest"),
        ("UPDATE events SET digest = previous WHERE seq = 3", "event 4: does not have the digest of event 3"),
        ("DELETE FROM events WHERE seq = 3", "event 3: not in the ledger"),
        ("DELETE FROM events WHERE seq IN (3, 4)", "events 3 to 4: not in the ledger"),
        ("DELETE FROM events WHERE seq = 1", "event 1: not in the ledger"),
    ],
)
def test_a_broken_link_is_named(sql: str, named: str, long_ledger: Ledger) -> None:
    change(long_ledger, sql)
    found, _, _ = long_ledger.findings()
    assert [each for each in found if each.startswith(named)] != []


def test_every_changed_field_of_every_event_is_named(long_ledger: Ledger) -> None:
    events = long_ledger.chain.events()
    for event in events:
        for name in ("at", "kind", "body", "previous", "digest"):
            altered = [getattr(event, name)[:-1] + chr(ord(getattr(event, name)[-1]) ^ 1)]
            assert event._replace(**{name: altered[0]}).computed() != event.digest or name == "digest"
        assert event.computed() == event.digest


def test_events_cut_off_at_the_end_are_noticed_by_the_head_that_was_noted(long_ledger: Ledger) -> None:
    _, _, head = long_ledger.findings()
    assert long_ledger.findings(head)[0] == []
    change(long_ledger, "DELETE FROM events WHERE seq = 5")
    assert long_ledger.findings()[0] == []  # what is left is a whole chain
    assert "events were cut off or rewritten" in long_ledger.findings(head)[0][0]


def test_a_chain_that_was_made_again_with_an_event_that_may_not_be_is_noticed(long_ledger: Ledger) -> None:
    with long_ledger.chain.writing():
        long_ledger.chain.append("passed", 3, {"model": "x"})
    assert long_ledger.findings()[0] == ["event 6: passed, where R000003 is open"]


@pytest.mark.parametrize("step", ["write", "remove"])
def test_a_check_while_another_process_writes_finds_nothing(
    step: str, ledger: Ledger, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an add its private file is there before its event; of a close its event before the file is gone."""
    ledger.add(SUBJECT, [letter])
    real, found = getattr(Private, step), []

    def check() -> None:
        with closing(Ledger.open(ledger.path)) as other:
            found.append(other.findings()[0])

    checking = threading.Thread(target=check)

    def slow(self: Private, *values: Any) -> None:
        if step == "write":
            real(self, *values)
        checking.start()
        checking.join(0.2)
        if step == "remove":
            real(self, *values)

    monkeypatch.setattr(Private, step, slow)
    if step == "write":
        ledger.add(SUBJECT, [letter])
    else:
        ledger.close_request(1, "twice the same")
    checking.join()
    assert found == [[]]


def test_events_are_not_changed_by_accident(long_ledger: Ledger) -> None:
    for sql in ("UPDATE events SET kind = 'passed' WHERE seq = 3", "DELETE FROM events"):
        with pytest.raises(StorageError), long_ledger.chain.writing():
            long_ledger.chain.query(sql)
    assert long_ledger.findings()[:2] == ([], 5)


def test_an_event_is_whole_or_not_there(ledger: Ledger, letter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("expunge.requests.chain.Chain.append", fail)
    with pytest.raises((OSError, ExpungeError)):
        ledger.add(SUBJECT, [letter])
    monkeypatch.undo()
    assert ledger.requests() == []
    assert ledger.findings()[0] == ["private/R000001.json belongs to no request"]
    assert ledger.add(SUBJECT, [letter])[0].name == "R000001"
    assert ledger.findings()[0] == []


def test_bodies_are_json_with_sorted_names(long_ledger: Ledger) -> None:
    for event in long_ledger.chain.events():
        assert event.body == json.dumps(json.loads(event.body), sort_keys=True, separators=(",", ":"))
