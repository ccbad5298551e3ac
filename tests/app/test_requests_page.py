"""The requests of a ledger on the page: deadlines, states and runs, and nothing of who asked."""

from __future__ import annotations

import contextlib
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from asking import TOKEN, ask
from test_pages import EVIL, make_run

from expunge.app.server import make_site
from expunge.requests.ledger import Ledger

CANARY = "Zorblatt-4711"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Five requests: overdue, due today, later with a run, refused, and one whose run lies elsewhere."""
    file = tmp_path / f"{CANARY}.txt"
    file.write_text(f"{CANARY} lives here.")
    today = date.today()
    with contextlib.closing(Ledger.open_or_create(tmp_path / "ledger")) as book:
        for days in (40, -2, 0, 9, 30):
            due = today + timedelta(days=days)
            book.add(CANARY, [file], due=due, received=today - timedelta(days=20), idempotency_key=CANARY + str(days))
        book.refuse(5, "no such person")
        runs = make_run(tmp_path / "runs", EVIL), tmp_path / "elsewhere"
        book.note("started", [1], {"name": "a", "run": str(runs[0]), "base": "x", "from": None})
        with book.chain.writing():
            book.chain.append("started", 4, {"name": "b", "run": str(runs[1])})
    return tmp_path / "ledger"


@pytest.fixture
def site(tmp_path: Path, ledger: Path) -> Any:
    return make_site(tmp_path / "runs", TOKEN, 80, ledger)


def rows_of(text: str) -> list[list[str]]:
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells if row]


def test_those_to_be_answered_come_first_by_their_deadline(site: Any) -> None:
    answer = ask(site, "/requests")
    assert answer.status == 200
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    found = rows_of(answer.text)
    assert [(row[0], row[1], row[3]) for row in found] == [
        ("R000002", "open", "2 days overdue"),
        ("R000003", "open", "due today"),
        ("R000004", "running", "9 days"),
        ("R000001", "running", "40 days"),
    ]
    assert '4 to be answered, <span class="bad">1 overdue</span>; 1 answered.' in answer.text
    every = rows_of(ask(site, "/requests?all=1").text)
    assert [row[:2] for row in every[4:]] == [["R000005", "refused"]]


def test_a_run_is_linked_where_it_has_a_page_and_its_name_is_escaped(site: Any) -> None:
    text = ask(site, "/requests").text
    assert EVIL not in text
    links = re.findall(r'href="(/runs/[^"]*)"', text)
    assert len(links) == 1, "a run elsewhere has no page"
    assert ask(site, unquote(links[0])).status == 200


def test_nothing_of_who_asked_is_shown(site: Any, ledger: Path) -> None:
    for path in ("/", "/requests", "/requests?all=1"):
        assert CANARY not in ask(site, path).text
    assert "4 to be answered" in ask(site, "/").text
    assert CANARY in (ledger / "private" / "R000001.json").read_text(), "it could have been found"


def test_without_a_ledger_the_next_step_is_said_and_a_damaged_one_is_told(tmp_path: Path, ledger: Path) -> None:
    none = make_site(tmp_path / "runs", TOKEN, 80, tmp_path / "none")
    assert "expunge request add" in ask(none, "/requests").text
    assert "Requests:" not in ask(none, "/").text
    (ledger / "ledger.sqlite").write_bytes(b"damaged" * 1000)
    broken = make_site(tmp_path / "runs", TOKEN, 80, ledger)
    answer = ask(broken, "/requests")
    assert answer.status == 200
    assert 'role="alert"' in answer.text
    assert ask(broken, "/").status == 200
