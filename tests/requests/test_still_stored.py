"""What is still stored of requests that were answered: told with its places, and only after the days that are allowed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from expunge.requests.ledger import Ledger
from expunge.requests.stored import stored_since
from said import Type


def test_everything_that_is_stored_is_named_until_it_is_gone(tmp_path: Path) -> None:
    letter, run = tmp_path / "letter.txt", tmp_path / "runs" / "R000001"
    letter.write_text("a letter")
    tomorrow = date.today() + timedelta(days=1)  # the ledger notes UTC
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as ledger:
        for _ in range(4):
            ledger.add("Ada", [letter])
        laid = ledger.private.lay_out("R000001", [("R000001-1.txt", letter)])
        (run / "stages").mkdir(parents=True)
        (run / "answers.json").write_text("[]")
        ledger.note("started", [1], {"name": "R000001", "run": str(run), "base": "base"})
        assert stored_since(ledger, tomorrow) == [], "none is answered"
        body = {"name": "R000001", "model": "m", "saved": "", "parent": "base", "record": ""}
        ledger.note("passed", [1], body)
        ledger.refuse(2, "no such person")
        ledger.close_request(3, "asked twice")
        notes = ledger.private.path
        first, second = stored_since(ledger, tomorrow)
        texts = (run / "stages", run / "answers.json")
        assert first.places == (notes / "R000001.json", laid / "R000001-1.txt", *texts)
        assert (second.name, second.state, second.places) == ("R000002", "refused", (notes / "R000002.json",))
        assert stored_since(ledger, date.today() - timedelta(days=2)) == [], "answered just now"
        ledger.close_request(1)
        ledger.close_request(2)
        (closed,) = stored_since(ledger, tomorrow)
        assert (closed.name, closed.state, closed.places) == ("R000001", "closed", texts)
        (run / "stages").rmdir()
        (run / "answers.json").unlink()
        assert stored_since(ledger, tomorrow) == []


def test_it_is_told_with_an_exit_code(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "mail.txt").write_text("a mail")
    typed("request", "add", "--subject", "Ada", "mail.txt")
    typed("request", "refuse", "R1", "--reason", "not our customer")
    code, out, _ = typed("request", "stored", "--days", "-1")
    assert (code, "R000001  refused since" in out, "R000001.json" in out) == (3, True, True)
    code, out, _ = typed("request", "stored", "--days", "-1", "--json")
    assert (code, [each["id"] for each in json.loads(out)]) == (3, ["R000001"])
    code, out, _ = typed("request", "stored")
    assert (code, out) == (0, "nothing is stored of requests answered 30 days ago or earlier\n")
    code, _, err = typed("request", "stored", "--days", "99999999")
    assert (code, "--days does not give a date" in err) == (2, True)
