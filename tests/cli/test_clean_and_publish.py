"""`expunge clean` and `expunge publish`: what goes, what stays, and that nothing goes without --yes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import huggingface_hub.constants
import pytest

from expunge import evaluate
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from said import Type
from small import contents


def test_cleaning_takes_what_training_read_and_nothing_that_is_verified(copied: RunFolder, typed: Type) -> None:
    (copied.stages / "unlearning-so-far.json").write_text("{}")
    (copied.path / ".scores.json.aside-0a1b2c3d").write_text("torn")
    (copied.path / "mine.txt").write_text("a user's own")
    signals = [path.name for path in copied.stages.glob("reference-*")]
    assert signals
    before, found = contents(copied.path), verify_run(copied)
    told = typed("clean", copied.path)
    assert "nothing was deleted" in told.out
    assert contents(copied.path) == before
    rows = json.loads(typed("clean", copied.path, "--yes", "--json").out)
    gone = set(before) - set(contents(copied.path))
    assert rows["deleted"]
    tops = {"/".join(name.split("/")[:2]) for name in gone}
    assert tops == {".scores.json.aside-0a1b2c3d", "stages/unlearning-so-far.json", *(f"stages/{n}" for n in signals)}
    assert sum(row["bytes"] for row in rows["goes"]) > 0
    assert verify_run(copied) == found
    assert all(finding.ok is not False for finding in found)
    assert "Nothing can be deleted." in typed("clean", copied.path, "--yes").out
    scores = copied.read_scores()
    assert evaluate(copied.path) == scores  # nothing is trained again, and the sets are as they were
    assert {name: before[name] for name in before if name.startswith("model/")} == {
        name: digest for name, digest in contents(copied.path).items() if name.startswith("model/")
    }


def test_a_run_that_may_resume_is_not_cleaned(copied: RunFolder, typed: Type) -> None:
    copied.log("threads", count=1)  # the same command, typed again
    said = typed("clean", copied.path, "--yes")
    assert (said.code, "is not finished" in said.err) == (1, True)
    assert list(copied.stages.glob("reference-*"))


class Hub:
    """What of a hub an upload needs, on the loopback interface: files come in the commit itself."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.private = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/api/repos/create":
                    hub.made.append(json.loads(body))
                    answer: Any = {"url": f"{hub.address}/me/forgot", "id": "me/forgot"}
                elif self.path.endswith("/preupload/main"):
                    names = [file["path"] for file in json.loads(body)["files"]]
                    answer = {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
                elif self.path == "/api/validate-yaml":
                    answer = {"warnings": [], "errors": []}
                else:
                    rows = [json.loads(line) for line in body.splitlines()]
                    hub.files |= {
                        row["value"]["path"]: base64.b64decode(row["value"]["content"])
                        for row in rows
                        if row["key"] == "file"
                    }
                    answer = {"commitUrl": f"{hub.address}/me/forgot/commit/abc", "commitOid": "abc", "success": True}
                self.answer(answer)

            def do_GET(self) -> None:
                self.answer({"id": "me/forgot", "private": hub.private} if self.path == "/api/models/me/forgot" else {})

            def answer(self, answer: Any) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_stub")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_only_the_files_of_a_model_are_published_and_only_when_asked(copied: RunFolder, typed: Type, hub: Hub) -> None:
    (copied.model / "notes.md").write_text("Holmes")
    said = typed("publish", copied.path, "me/forgot")
    assert (said.code, "notes.md: no file of a model" in said.out) == (1, False)  # the record does not know it
    (copied.model / "notes.md").unlink()
    (copied.model / "texts.csv").write_text("Sherlock Holmes lives in Baker Street")
    said = typed("publish", copied.path, "me/forgot")
    assert (said.code, "Nothing was sent" in said.out) == (0, True)
    assert "texts.csv: not a known file of a model" in said.out
    assert (hub.made, hub.files) == ([], {})
    said = typed("publish", copied.path, "me/forgot", "--yes")
    assert (said.code, f"{hub.address}/me/forgot/commit/abc" in said.out) == (0, True), said.err
    assert "private" in (hub.made[0].get("visibility"), *(["private"] if hub.made[0].get("private") else []))
    names = {path.name for path in copied.model.iterdir()} - {"texts.csv"}
    assert set(hub.files) == names
    assert {"config.json", "model.safetensors", "README.md"} <= names
    assert all(content == (copied.model / name).read_bytes() for name, content in hub.files.items())


def test_a_repository_that_everybody_sees_takes_a_model_with_public_alone(
    copied: RunFolder, typed: Type, hub: Hub
) -> None:
    hub.private = False  # it was there, and public: making it again changes nothing
    said = typed("publish", copied.path, "me/forgot", "--yes")
    assert (said.code, "is there for everybody to see" in said.err, hub.files) == (1, True, {})
    said = typed("publish", copied.path, "me/forgot", "--yes", "--public")
    assert (said.code, "model.safetensors" in hub.files) == (0, True), said.err


def test_a_hub_that_is_not_reached_is_an_error_of_one_line(
    copied: RunFolder, typed: Type, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    said = typed("publish", copied.path, "me/forgot", "--yes")
    assert (said.code, "the hub did not take me/forgot" in said.err, "Traceback" in said.err) == (1, True, False)


def test_another_model_than_the_record_says_is_not_published(copied: RunFolder, typed: Type) -> None:
    with open(copied.model / "config.json", "a") as file:
        file.write(" ")
    said = typed("publish", copied.path, "me/forgot", "--yes")
    assert (said.code, "is not the model of" in said.err) == (1, True)
    assert typed("publish", copied.path, "../forgot").code == 1
