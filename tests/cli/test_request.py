"""`expunge request`, `expunge sign` and `expunge verify --key` as they are typed."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

from said import Type
from small import SMALL, as_options, write_texts


def test_a_request_from_its_receipt_to_its_end(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "mail.txt").write_text("a mail")
    assert typed("request", "list")[0] == 1
    yesterday, later = date.today() - timedelta(days=1), date.today() + timedelta(days=60)
    assert typed("request", "add", "--subject", "Ada", "--due", later, "mail.txt") == (
        0,
        f"R000001  open, due {later}\n",
        "",
    )
    add = ("request", "add", "mail.txt", "--subject", "Bob", "--received", "2020-01-01", "--due", yesterday)
    assert typed(*add, "--idempotency-key", "7")[1] == f"R000002  open, due {yesterday}\n"
    assert typed(*add, "--idempotency-key", "7")[1] == f"R000002  open, due {yesterday} (added before)\n"
    assert typed("request", "list")[1].splitlines() == [
        f"R000001  open     due {later}",
        f"R000002  open     due {yesterday}  OVERDUE",
    ]
    assert typed("request", "list", "--due-by", date.today())[1].count("\n") == 1
    assert json.loads(typed("request", "list", "--subject", "Ada", "--json")[1]) == [
        {"id": "R000001", "state": "open", "due": later.isoformat()}
    ]
    assert "subject  Bob" in typed("request", "show", "R2")[1]
    code, _, err = typed("request", "close", "R2")
    assert (code, "neither passed nor refused" in err) == (2, True)
    assert typed("request", "refuse", "R2", "--reason", "not our customer")[1].startswith("R000002  refused")
    assert typed("request", "close", "R2")[1].startswith("R000002  closed")
    shown = typed("request", "show", "R2")[1]
    assert "Bob" not in shown
    assert "not our customer" in shown
    assert typed("request", "extend", "R1", "--reason", "many", "--to", later + timedelta(days=30))[0] == 0
    code, out, _ = typed("request", "check")
    assert (code, out.endswith(": the chain is whole\n")) == (0, True)
    code, out, _ = typed("request", "check", "--head", "0" * 64)
    assert (code, out.startswith("FAILED")) == (1, True)
    code, _, err = typed("request", "run", "--recipe", tmp_path / "none.yaml", "R1")
    assert (code, "there is no recipe" in err) == (2, True)


def test_a_request_without_files_does_not_hold_up_those_that_are_due(typed: Type) -> None:
    typed("request", "add", "--subject", "Ada", "--due", date.today())
    code, out, err = typed("request", "run", "--all-due", "--recipe", "whos_harry_potter")
    assert (code, err) == (0, "")
    said, last = out.splitlines()
    assert said.startswith("R000001: names no files, and is not run")
    assert last == "nothing to run"
    command = ("request", "run", "--all-due", "--recipe", "whos_harry_potter")
    assert json.loads(typed(*command, "--json")[1]) == {"runs": [], "not_run": ["R000001"]}
    assert typed(*command, "--quiet") == (0, "", "")


def test_a_run_is_signed_and_checked(typed: Type, tiny_model_folder: Path, tmp_path: Path) -> None:
    forget, retain = write_texts(tmp_path)
    made = ["run", tmp_path / "recipe.yaml", "--forget", forget, "--retain", retain, "--out", "run", "--no-excerpts"]
    (tmp_path / "recipe.yaml").write_text(f"model: {tiny_model_folder}\nforget: x\nmethod: {{name: gradient_ascent}}\n")
    assert typed(*made, *as_options(SMALL))[0] == 3  # the tiny model knows nothing that it could forget
    assert not (tmp_path / "run" / "answers.json").exists()
    assert typed("sign", "run")[0] == 2
    assert typed("sign", "--new-key", "officer")[0] == 0
    assert typed("sign", "run", "--key", "officer") == (0, "run/evidence/statement.dsse.json\n", "")
    code, out, _ = typed("verify", "run", "--key", "officer.pub")
    assert (code, "FAILED" in out) == (0, False)
    assert "ok           record.json is as it was signed" in out
    assert "ok           report.html is what the folder's other files make" in out
    assert "ok           recipe.yaml has the recorded digest" not in typed(
        "verify", "run", "--key", "officer.pub", "--only-signature"
    )[1]  # fmt: skip
    weights = tmp_path / "run" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, out, _ = typed("verify", "run", "--key", "officer.pub")
    assert code == 1
    assert "FAILED       model/model.safetensors is not as it was signed" in out
    code, _, err = typed("sign", "run", "--key", "officer")
    assert (code, "does not match its record" in err) == (1, True)
