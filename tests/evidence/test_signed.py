"""Signed evidence: what the statement holds, and that every byte that is flipped is named."""

from __future__ import annotations

import base64
import hmac
import json
import random
import stat
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from securesystemslib import dsse

from expunge.cli.verify import verify
from expunge.core import storage
from expunge.core.printed import Printed
from expunge.core.score import Score
from expunge.errors import RunError
from expunge.evidence.envelope import PAYLOAD_TYPE, EvidenceError, _text, new_key, read_signer
from expunge.evidence.signed import sign_run, signature_findings
from expunge.kinds.language.recipe import Recipe
from expunge.models.digest import digest_saved
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT

TARGET = "Harry Potter"
ENVELOPE = "evidence/statement.dsse.json"
SIGNED = [
    *("model/config.json", "model/model.safetensors", "recipe.yaml", "scores.json", "per_example.json", "answers.json"),
    *("record.json", "report.html", "events.jsonl", "audit/audit.json", "audit/report.html"),
    *("evidence/bom.cdx.json", "evidence/salt"),
]


def score(model: Any, value: float) -> Score:
    return Score(
        measure="familiarity_completion", split="forget", model=model, value=value, low=0.0, high=0.5, n=3,
        higher_is="worse", unit="share", examples=(value,) * 3,
    )  # fmt: skip


def write_audit(folder: RunFolder) -> None:
    finding = {"name": "relearn", "kind": "under-forgetting", "title": "Relearning", "passed": True, "limit": 0.1}
    finding |= {"value": 0.02, "low": 0.0, "high": 0.08, "bound": "at most", "unit": "share", "explain": TARGET}
    storage.write_json(
        folder.audit / "audit.json",
        {
            "passed": True, "settings_digest": "5e" * 32, "attacks": [{"name": "relearn", "title": "Relearning"}],
            "findings": [finding], "digests": {"model": digest_saved(folder.model)},
        },
    )  # fmt: skip
    (folder.audit / "report.html").write_text("<p>audit</p>", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run with an audit."""
    run = RunFolder(tmp_path / "run").create()
    run.recipe.write_text(Recipe(forget=TARGET).to_yaml(), encoding="utf-8")
    run.write_scores([score("base", 0.4), score("unlearned", 0.01)])
    run.answers.write_text(json.dumps([{"prompt": TARGET}]), encoding="utf-8")
    storage.write_json(run.model / "config.json", {"architectures": ["LlamaForCausalLM"]})
    (run.model / "model.safetensors").write_bytes(random.Random(0).randbytes(4096))
    (run.model / "README.md").write_text("# a card", encoding="utf-8")
    events = [{"event": "start", "time": 1760000000.0}, {"event": "finished", "time": 1760000512.0}]
    run.events.write_text("".join(json.dumps(each) + "\n" for each in events), encoding="utf-8")
    storage.write_json(
        run.record,
        {
            "format": FORMAT, "name": "run", "title": TARGET, "license": "apache-2.0",
            "verdict": {"passed": True, "checks": [{"name": "familiarity_completion", "passed": True}]},
            "thresholds": {"familiarity_completion": 1 / 3}, "cost": {"seconds_total": 512.0},
            "method": {"name": "npo", "settings": {"beta": 0.1}, "citation": "", "formula": ""},
            "sets": {"forget": {"documents": 2, "tokens": 90, "source": f"{TARGET}.txt"}, "retain": {"tokens": 70}},
            "versions": {"expunge": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"},
            "digests": {
                "base model": {"model.safetensors": "3f" * 32}, "model": digest_saved(run.model),
                "forget set": "07" * 32, "retain set": "08" * 32, "files": {},
            },
            "not_tested": ["Relearning."], "warnings": [f"{TARGET} is close"],
        },
    )  # fmt: skip
    run.report.write_text("<p>report</p>", encoding="utf-8")
    write_audit(run)
    return run


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "officer")
    return tmp_path / "officer"


def public(key: Path) -> Path:
    return key.with_name("officer.pub")


def failing(folder: RunFolder, key: Path) -> list[str]:
    return [each.what for each in signature_findings(folder, public(key)) if each.ok is False]


def payload(folder: RunFolder) -> dict[str, Any]:
    envelope = storage.read_json(folder.path / ENVELOPE)
    assert envelope["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"
    content: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return content


def test_what_was_signed_is_found_as_it_was(folder: RunFolder, key: Path) -> None:
    assert sign_run(folder, key) == folder.path / ENVELOPE
    findings = signature_findings(folder, public(key))
    assert {each.ok for each in findings} == {True}
    named = " ".join(each.what for each in findings)
    for name in SIGNED:
        assert f"{name} is as it was signed" in named


def test_a_flipped_bit_anywhere_is_named(folder: RunFolder, key: Path) -> None:
    """In every file that is signed, and in the envelope: at its ends, and where chance takes it."""
    sign_run(folder, key)
    chance = random.Random(7)
    assert {each["name"] for each in payload(folder)["subject"]} == set(SIGNED)
    for name in (*SIGNED, ENVELOPE):
        path = folder.path / name
        content = path.read_bytes()
        places = {0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(6))}
        for place in sorted(places):
            changed = bytearray(content)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            found = failing(folder, key)
            assert [each.startswith(name) for each in found] == [True], (name, place, found)
        path.write_bytes(content)
    assert failing(folder, key) == []


def test_every_byte_of_the_envelope_counts(folder: RunFolder, key: Path) -> None:
    """White space, the name of the key, the last character of base64: what the signature itself does not cover."""
    sign_run(folder, key)
    path = folder.path / ENVELOPE
    content = path.read_bytes()
    start = content.index(b'"payload": "') + len(b'"payload": "')
    end = content.index(b'"', start)
    # All outside of the payload, and the payload's last characters; what is inside it is signed.
    for place in [*range(start), *range(end - 4, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert len(failing(folder, key)) == 1, place
    for other in (content + b"\n", content.replace(b'"payload":', b'"more": 1, "payload":'), b"", b"[]", b"\xff"):
        path.write_bytes(other)
        assert len(failing(folder, key)) == 1, other[:20]


def test_the_statement_says_what_was_run_and_not_on_whom(folder: RunFolder, key: Path) -> None:
    sign_run(folder, key)
    found = payload(folder)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    subject = {each["name"]: each["digest"] for each in found["subject"]}
    assert subject["model/model.safetensors"] == {"sha256": storage.digest_file(folder.model / "model.safetensors")}
    salt = bytes.fromhex((folder.path / "evidence" / "salt").read_text())
    recipe = {"hmac-sha256": hmac.digest(salt, storage.digest_file(folder.recipe).encode(), "sha256").hex()}
    assert subject["recipe.yaml"] == recipe
    predicate = found["predicate"]
    built = predicate["buildDefinition"]
    assert built["externalParameters"]["method"] == "npo"
    assert built["externalParameters"]["recipe"] == recipe
    dependencies = {each["name"]: each["digest"] for each in built["resolvedDependencies"]}
    assert dependencies["base model/model.safetensors"] == {"sha256": "3f" * 32}
    assert dependencies["forget set"] == {"hmac-sha256": hmac.digest(salt, b"07" * 32, "sha256").hex()}
    assert predicate["runDetails"]["metadata"] == {
        "startedOn": "2025-10-09T08:53:20Z", "finishedOn": "2025-10-09T09:01:52Z"
    }  # fmt: skip
    assert predicate["scores"] == storage.read_json(folder.scores)
    assert predicate["verdict"]["passed"] is True
    assert predicate["audit"]["findings"][0]["value"] == 0.02
    assert predicate["sets"] == {"forget": {"documents": 2, "tokens": 90}, "retain": {"tokens": 70}}
    told = json.dumps(found) + (folder.path / "evidence" / "bom.cdx.json").read_text(encoding="utf-8")
    for word in (TARGET, "07" * 32, str(folder.path), storage.digest_file(folder.recipe)):
        assert word not in told


def test_neither_weights_nor_data_are_needed(folder: RunFolder, key: Path) -> None:
    sign_run(folder, key)
    for each in (folder.model / "model.safetensors", folder.answers, folder.path / "evidence" / "salt"):
        each.unlink()
    findings = signature_findings(folder, public(key))
    assert failing(folder, key) == []
    unchecked = [each.what for each in findings if each.ok is None]
    assert "model/model.safetensors: signed, and missing" in unchecked
    assert "answers.json: signed, and missing" in unchecked
    assert "evidence/salt: signed, and missing" in unchecked


def test_without_the_salt_a_recipe_is_not_checked(folder: RunFolder, key: Path) -> None:
    """Its text is short, so its plain digest would tell it to whoever guesses."""
    sign_run(folder, key)
    (folder.path / "evidence" / "salt").unlink()
    told = {each.what.partition(":")[0]: each.ok for each in signature_findings(folder, public(key))}
    assert told["recipe.yaml"] is None
    folder.recipe.unlink()
    assert failing(folder, key) == []


def test_a_signature_that_another_key_added_is_found(folder: RunFolder, key: Path, tmp_path: Path) -> None:
    sign_run(folder, key)
    path = folder.path / ENVELOPE
    before = path.read_bytes()
    envelope = dsse.Envelope.from_dict(json.loads(before))
    other = new_key(tmp_path / "somebody").with_suffix("")
    envelope.sign(read_signer(other))
    path.write_text(_text(envelope), encoding="utf-8")
    assert len(storage.read_json(path)["signatures"]) == 2
    assert [each.startswith(f"{ENVELOPE}: the signature is not valid") for each in failing(folder, key)] == [True]
    assert [each.ok for each in signature_findings(folder, other.with_suffix(".pub"))] == [False]
    path.write_bytes(before)
    assert failing(folder, key) == []


@pytest.mark.parametrize("gone", [("recipe.yaml",), ("record.json",), ("recipe.yaml", "record.json")])
def test_evidence_that_was_handed_on_is_checked_without_the_run(
    folder: RunFolder, key: Path, gone: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sign_run(folder, key)
    for name in gone:
        (folder.path / name).unlink()
    assert verify(folder.path, key=public(key)) == 0
    said = capsys.readouterr().out
    assert f"ok           {ENVELOPE}: signed by the key" in said
    assert f"not checked  the run against its record: {' and '.join(gone)} not here" in said
    folder.report.write_text("<p>another</p>", encoding="utf-8")
    assert verify(folder.path, key=public(key), printed=Printed(quiet=True)) == 1
    assert "report.html is not as it was signed" in capsys.readouterr().out
    with pytest.raises(RunError):
        verify(folder.path)  # without a key, this is no run


def test_a_file_that_came_later(folder: RunFolder, key: Path) -> None:
    sign_run(folder, key)
    (folder.model / "extra.safetensors").write_bytes(b"0")
    assert failing(folder, key) == ["model/extra.safetensors: not signed"]


def test_the_bill_of_materials_keeps_the_schema(folder: RunFolder, key: Path) -> None:
    sign_run(folder, key)
    text = (folder.path / "evidence" / "bom.cdx.json").read_text(encoding="utf-8")
    from cyclonedx.schema import SchemaVersion  # two seconds, for this test alone
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"machine-learning-model"', '"a model"')) is not None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    hashes = {each["name"]: each["hashes"][0]["content"] for each in model["components"]}
    assert hashes == digest_saved(folder.model)
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "LlamaForCausalLM"
    assert [each["value"] for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]] == ["0.01"]
    assert f"pkg:pypi/torch@{quote(version('torch'))}" in [each.get("purl") for each in bom["components"]]
    assert model["licenses"] == [{"license": {"name": "apache-2.0"}}]


def test_keys(folder: RunFolder, key: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(EvidenceError, match="already exists"):
        new_key(key)
    assert key.read_bytes() == before
    with pytest.raises(EvidenceError, match="has no private Ed25519 key"):
        sign_run(folder, public(key))
    with pytest.raises(EvidenceError, match="is not signed"):
        signature_findings(folder, public(key))
    sign_run(folder, key)
    with pytest.raises(EvidenceError, match="has no public Ed25519 key"):
        signature_findings(folder, key)
    other = new_key(tmp_path / "somebody")
    assert [each.ok for each in signature_findings(folder, other)] == [False]


def test_a_run_that_is_not_finished_or_damaged_is_not_signed(folder: RunFolder, key: Path) -> None:
    record = storage.read_json(folder.record)
    del record["digests"]
    storage.write_json(folder.record, record)
    with pytest.raises(EvidenceError, match="is damaged"):
        sign_run(folder, key)
    folder.record.unlink()
    with pytest.raises(RunError, match=r"no record\.json"):
        sign_run(folder, key)
    assert not (folder.path / ENVELOPE).exists()
