"""The pages: runs, reports, new runs, the two models."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asking import TOKEN, ask

from expunge.app import jobs as jobs_
from expunge.app.chat import Chat
from expunge.app.jobs import Jobs
from expunge.app.listing import Listing, at_work
from expunge.app.progress import progress_of
from expunge.app.server import make_site
from expunge.errors import RunError
from expunge.report.contents import read_contents
from expunge.runs import shown
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder

EVIL = "<script>alert(1)</script>"


def make_run(root: Path, name: str, passed: bool | None = True, title: str = "a book") -> Path:
    """A run folder as far as the pages read it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"model: tiny\nforget: {json.dumps(title)}\nmethod:\n  name: npo\n")
    steps = [{"event": "step", "step": i, "loss": 3.0 / i, "tokens_per_second": 5.0} for i in range(1, 4)]
    events = [{"event": "stage_started", "name": "forget-tokens"}, *steps]
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in events))
    (folder / ".lock").write_text("")
    if passed is not None:
        record = {
            "title": title,
            "method": {"name": "npo"},
            "verdict": {"passed": passed},
            "cost": {"seconds_total": 9.0},
        }
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "report.html").write_text(f"<!doctype html><style>p{{}}</style><p>report of {name}</p>")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Any:
    return make_site(tmp_path, TOKEN, 80)


def test_the_table_says_how_each_run_came_out(site: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "good")
    make_run(tmp_path, "bad", passed=False)
    make_run(tmp_path, "suite/cell", passed=None)
    audited = make_run(tmp_path, "audited") / "audit"
    audited.mkdir()
    (audited / "audit.json").write_text('{"passed": false}')
    unknown = make_run(tmp_path, "unknown", passed=False) / "record.json"
    unknown.write_text(unknown.read_text().replace('"passed": false', '"passed": false, "not_known": true'))
    (tmp_path / "notes").mkdir()
    rows = {row.name: row for row in Listing(tmp_path).rows()}
    assert set(rows) == {"good", "bad", "suite/cell", "audited", "unknown"}
    assert [rows[name].passed for name in ("good", "bad", "suite/cell")] == [True, False, None]
    assert rows["suite/cell"].state == "interrupted"
    assert rows["suite/cell"].title == "a book"
    assert rows["good"].model == "tiny"
    assert (rows["audited"].has_audit, rows["audited"].audited) == (True, False)
    text = ask(site, "/").text
    for words in ("not audited", "✗ failed", "interrupted", "✗ not passed", "/runs/suite/cell"):
        assert words in text
    assert text.count("✗ failed") == 1
    assert text.count("not known well enough to measure forgetting") == 1


def test_a_run_that_has_no_record_yet_shows_all_it_is_to_forget(site: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "several", passed=None)
    topics = ["Harry Potter", "World War II", "Moby-Dick", "Paris", "jazz", "whales", "Zorro"]
    also = "".join(f"- {topic}\n" for topic in topics[1:])
    (folder / "recipe.yaml").write_text(f"model: tiny\nforget: {topics[0]}\nforget_also:\n{also}method:\n  name: npo\n")
    wanted = "Harry Potter, World War II, Moby-Dick, Paris, jazz, whales and 1 more"
    assert [row.title for row in Listing(tmp_path).rows()] == [wanted]
    assert wanted in ask(site, "/").text
    assert wanted in ask(site, "/runs/several").text
    assert read_contents(RunFolder(folder)).title == wanted
    (folder / "recipe.yaml").write_text(
        "model: tiny\nforget: /home/ann/letters/a.txt\nforget_also: [/home/ann/b.txt]\n"
    )
    assert [row.title for row in Listing(tmp_path).rows()] == ["letters/a.txt, ann/b.txt"]


def test_a_run_at_work_is_seen_without_taking_its_lock(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "busy", passed=None)
    assert not at_work(folder)
    with open(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path("/proc/locks").exists():
            pytest.skip("this system does not list locks")
        assert at_work(folder)
        assert Listing(tmp_path).row(RunFolder(folder)).state == "at work"


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "/etc", "good/../../outside", "good/stages", "%2e%2e"])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    make_run(tmp_path, "outside")
    make_run(tmp_path / "runs", "good")
    assert Listing(tmp_path / "runs").find(name) is None
    assert ask(make_site(tmp_path / "runs", TOKEN, 80), f"/runs/{name}/report").status in (404, 400)


def test_a_link_out_of_the_folder_is_no_run(tmp_path: Path) -> None:
    make_run(tmp_path, "outside")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "outside")
    assert Listing(tmp_path / "runs").find("link") is None


def test_a_report_is_shown_as_it_is_and_runs_no_script(site: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "good")
    answer = ask(site, "/runs/good/report")
    assert "report of good" in answer.text
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert ask(site, "/runs/good/audit").status == 404


def test_what_a_run_says_is_escaped(site: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "evil", title=EVIL)
    for path in ("/", "/runs/evil"):
        text = ask(site, path).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text
    text = ask(site, "/new", "POST", {"forget": EVIL, "name": EVIL}).text
    assert EVIL not in text
    assert "not a name for a run" in text


def test_damaged_files_do_not_break_the_table(site: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "torn")
    (folder / "record.json").write_text('{"title": ')
    other = make_run(tmp_path, "odd", passed=None)
    (other / "recipe.yaml").write_text("- a\n: {")
    strange = make_run(tmp_path, "strange")
    (strange / "record.json").write_text(
        '{"verdict": [1], "cost": {"seconds_total": "long"}, "method": 3, "title": {}}'
    )
    assert ask(site, "/").status == 200
    assert ask(site, "/runs/strange").status == 200
    assert {row.name for row in Listing(tmp_path).rows()} == {"torn", "odd", "strange"}


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "a/" * 3000])
def test_a_name_that_no_file_can_have_is_no_run(site: Any, name: str) -> None:
    assert ask(site, f"/runs/{name}").status == 404


def test_progress_is_sent_until_the_reader_leaves(site: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "busy", passed=None)
    told = progress_of(RunFolder(folder))
    assert told["stage"] == "forget-tokens"
    assert told["step"] == 3
    assert told["losses"] == [(1, 3.0), (2, 1.5), (3, 1.0)]
    answer = ask(site, "/runs/busy/progress", leave_after=1)
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = json.loads(answer.text.split("data: ")[1].split("\n")[0])
    assert sent["state"] == "interrupted"
    assert sent["step"] == 3


def test_a_form_becomes_a_recipe_that_is_edited_before_anything_starts(site: Any, tmp_path: Path) -> None:
    answer = ask(site, "/new", "POST", {"forget": "the Moon", "topic": "1", "method": "npo", "name": "moon"})
    assert (answer.status, answer.headers["location"]) == (303, "/drafts/moon")
    draft = tmp_path / ".app" / "moon.yaml"
    text = draft.read_text()
    assert "forget_kind: topic" in text
    assert "name: npo" in text
    assert "the Moon" in ask(site, "/drafts/moon").text
    changed = text.replace("seed: 0", "seed: 7")
    assert ask(site, "/drafts/moon", "POST", {"recipe": changed}).status == 303
    assert draft.read_text() == changed
    wrong = ask(site, "/drafts/moon", "POST", {"recipe": changed + "\nnonsense: 1\n"})
    assert wrong.status == 400
    assert "nonsense" in wrong.text
    assert draft.read_text() == changed, "what is wrong replaces nothing"
    assert Listing(tmp_path).rows() == []


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": "a"}, "nothing to forget"),
        ({"forget": "x", "name": "../a"}, "not a name for a run"),
        ({"forget": "x", "name": ".hidden"}, "not a name for a run"),
        ({"forget": "x", "method": "nothing", "name": "a"}, "there is no method"),
        ({"forget": "x", "name": "there"}, "already"),
    ],
)
def test_a_wrong_form_is_shown_again_with_the_reason(
    site: Any, tmp_path: Path, form: dict[str, str], words: str
) -> None:
    (tmp_path / "there").mkdir()
    answer = ask(site, "/new", "POST", form)
    assert answer.status == 400
    assert words in answer.text


def test_a_form_without_end_is_refused(site: Any) -> None:
    answer = ask(site, "/new", "POST", {"forget": "x" * 1_100_000})
    assert answer.status == 400
    assert "too long" in answer.text


STANDIN = """
import fcntl, json, signal, sys, time, pathlib
folder = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir(parents=True, exist_ok=True)
lock = open(folder / ".lock", "w"); fcntl.flock(lock, fcntl.LOCK_EX)
(folder / "events.jsonl").write_text(""); (folder / "recipe.yaml").write_text("forget: x\\n")
print("at work", flush=True)
signal.signal(signal.SIGINT, lambda *a: (print("interrupted", flush=True), sys.exit(130)))
time.sleep(60)
"""


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of Expunge: it holds its folder until it is interrupted."""
    script = tmp_path / "standin.py"
    script.write_text(STANDIN)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    os.chmod(program, 0o755)
    monkeypatch.setattr(jobs_.sys, "executable", str(program))


def until(holds: Any) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")


@pytest.mark.usefixtures("standin")
def test_a_run_is_started_stopped_and_resumed(site: Any, tmp_path: Path) -> None:
    ask(site, "/new", "POST", {"forget": "the Moon", "topic": "1", "name": "moon"})
    started = ask(site, "/runs/moon/start", "POST", {})
    assert (started.status, started.headers["location"]) == (303, "/runs/moon")
    until(lambda: at_work(tmp_path / "moon"))
    page = ask(site, "/runs/moon").text
    assert "Stop" in page
    assert "at work" in page
    again = ask(site, "/runs/moon/start", "POST", {})
    assert again.status == 400
    assert "a process is at work" in again.text
    other = Jobs(tmp_path)  # the app was closed and opened again: the run went on
    assert other.can_stop("moon")
    other.stop("moon")
    until(lambda: not at_work(tmp_path / "moon"))
    until(lambda: not other.can_stop("moon"))
    assert "interrupted" in other.printed("moon")
    page = ask(site, "/runs/moon").text
    assert "Resume" in page
    assert ask(site, "/runs/moon/start", "POST", {}).status == 303
    until(lambda: at_work(tmp_path / "moon"))
    assert ask(site, "/runs/moon/stop", "POST", {}).status == 303
    until(lambda: not at_work(tmp_path / "moon"))


def test_what_another_program_started_is_not_stopped(site: Any, tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine", passed=None)
    Jobs(tmp_path).place.mkdir()
    (tmp_path / ".app" / "mine.json").write_text(json.dumps({"process": os.getpid()}))
    assert not Jobs(tmp_path).can_stop("mine"), "the number is another process's by now"
    with pytest.raises(RunError, match="no process that the page started"):
        Jobs(tmp_path).stop("mine")
    assert ask(site, "/runs/mine/stop", "POST", {}).status == 400
    assert folder.is_dir()


def test_both_models_answer_and_are_loaded_once(site: Any, tmp_path: Path, tiny_model_folder: Path) -> None:
    import shutil

    base = tiny_model_folder
    folder = make_run(tmp_path, "chat")
    (folder / "recipe.yaml").write_text(f"model: {base}\nforget: x\n")
    shutil.copytree(base, folder / "model")
    answers = [
        ask(site, "/runs/chat/answer", "POST", {"side": side, "question": "Who?"}) for side in ("before", "after")
    ]
    for answer in answers:
        *pieces, last = answer.lines()
        assert last == {"end": True}
        assert all(set(piece) == {"text"} for piece in pieces)
    assert answers[0].body == answers[1].body, "they are the same model"
    page = ask(site, "/runs/chat/chat").text
    assert "GiB" in page
    empty = ask(site, "/runs/chat/answer", "POST", {"question": " "})
    assert "between 1 and 4,000" in empty.lines()[0]["error"]


def test_a_run_without_a_model_says_so(site: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "early", passed=None)
    make_run(tmp_path, "moved")
    pictures = make_run(tmp_path, "pictures") / "model"
    pictures.mkdir()
    (pictures / "model.safetensors").write_bytes(b"weights")
    for name, words in (
        ("early", "There is no unlearned model yet"),
        ("moved", "has no model any more"),
        ("pictures", "Only language models can be asked"),
    ):
        answer = ask(site, f"/runs/{name}/answer", "POST", {"side": "after", "question": "Who?"})
        assert words in answer.lines()[0]["error"]
        page = ask(site, f"/runs/{name}/chat")
        assert page.status == 200
        assert words in page.text
        assert "<textarea" not in page.text, "there is nothing to type into"
        assert "chat.js" not in page.text
        assert "Ask both models" not in ask(site, f"/runs/{name}").text


def test_who_leaves_ends_the_answer(tmp_path: Path) -> None:
    import threading

    left = threading.Event()
    left.set()
    assert list(Chat().answer(RunFolder(tmp_path), "before", "Who?", left)) == []


def test_both_models_write_at_the_same_time(tmp_path: Path, tiny_model_folder: Path, monkeypatch: Any) -> None:
    """A piece of each in turn, while neither has ended; a third question waits, and then has its turn."""
    import shutil
    import threading

    from expunge.app import chat as chat_

    loaded: list[Any] = []

    def written(task: Any, question: str, stop: threading.Event) -> Any:
        loaded.append(task)
        yield from (f"{question}{piece}" for piece in range(2))

    monkeypatch.setattr(chat_, "_written", written)
    folder = make_run(tmp_path, "chat")
    (folder / "recipe.yaml").write_text(f"model: {tiny_model_folder}\nforget: x\n")
    shutil.copytree(tiny_model_folder, folder / "model")
    chat, stay = Chat(), threading.Event()
    asked = [(side, chat.answer(RunFolder(folder), side, side, stay)) for side in ("before", "after")]
    assert [next(answer) for _ in range(2) for _, answer in asked] == ["before0", "after0", "before1", "after1"]
    third = chat.answer(RunFolder(folder), "after", "again", stay)
    assert next(third) == "", "the first answer has not ended"
    for _, answer in asked:
        assert list(answer) == []
    assert list(third) == ["again0", "again1"]
    assert loaded[2] is loaded[1] is not loaded[0], "each model is loaded once"


def test_another_runs_models_wait_until_both_are_idle(tmp_path: Path, monkeypatch: Any) -> None:
    import threading

    from expunge.app import chat as chat_

    def load(chat: Any, folder: RunFolder, wanted: str) -> None:
        chat._of, chat._models = folder.path, dict.fromkeys(("before", "after"), folder.path.name)

    monkeypatch.setattr(chat_, "_written", lambda task, question, stop: iter([task, task]))
    monkeypatch.setattr(Chat, "_load", load)
    chat, stay, left = Chat(), threading.Event(), threading.Event()
    first = chat.answer(RunFolder(tmp_path / "one"), "before", "?", stay)
    assert next(first) == "one"
    other, gone = (chat.answer(RunFolder(tmp_path / "two"), "after", "?", stop) for stop in (stay, left))
    assert [next(other), next(gone)] == ["", ""]
    left.set()
    assert list(gone) == [], "who has left does not wait"
    first.close()
    assert list(other) == ["two", "two"]


def test_the_progress_of_a_stage_is_noted_while_a_run_is_at_work(tmp_path: Path, monkeypatch: Any) -> None:
    clock = iter([0.0, 0.0, 60.0, 60.0])
    monkeypatch.setattr(shown, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    run: Run[Any] = Run(None, RunFolder(make_run(tmp_path, "busy", passed=None)))
    display, told = run.show, []

    def work() -> None:
        with shown.noted(run):
            run.show.stage("Training")
            told.append(progress_of(run.folder))
            for share in (0.25, 0.5):
                run.show.update(share)
            told.append(progress_of(run.folder))
            raise RunError("it ended")

    with pytest.raises(RunError, match="it ended"):
        work()
    found = [(each["title"], each["share"], each["left"]) for each in told]
    assert found == [("Training", None, None), ("Training", 0.5, "2\u00a0min 00\u00a0s")]
    assert run.show is display
    assert progress_of(run.folder)["title"] is None
    assert [path.name for path in run.folder.path.glob(".progress*")] == []


@pytest.mark.parametrize("note", ["{", "[]", '{"title": 3, "share": "x", "left": [], "time": null}'])
def test_a_damaged_note_of_progress_breaks_nothing(tmp_path: Path, note: str) -> None:
    folder = RunFolder(make_run(tmp_path, "busy", passed=None))
    folder.shown.write_text(note)
    told = progress_of(folder)
    assert (told["share"], told["left"], told["step"]) == (None, None, 3)
