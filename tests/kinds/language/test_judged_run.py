"""A whole run on the tiny model with a judge on the loopback interface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import expunge
from chat_server import Endpoint
from small import SMALL, write_texts


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_judge_is_asked_once_and_only_where_its_address_is_given(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    target, retain = write_texts(tmp_path)
    out = tmp_path / "run"
    usual = SMALL | {"method": "gradient_ascent", "retain": str(retain), "model": str(tiny_model_folder)}
    endpoint = Endpoint()
    try:
        folder = expunge.forget(str(target), out=out, **usual)
        assert endpoint.requests == []
        assert "familiarity_judged" not in folder.scores.read_text()
        model = (out / "model" / "model.safetensors").stat().st_mtime_ns
        for answer in ("3", "2", "no", "3", "0", "0", "0", "0"):
            endpoint.completes(f'{{"familiarity": {answer}}}')
        judged = usual | {"evaluation.judge_url": endpoint.url, "evaluation.judge_model": "strong"}
        folder = expunge.forget(str(target), out=out, **judged)
        assert len(endpoint.requests) == 8
        assert {request["model"] for request in endpoint.requests} == {"strong"}
        scores = {s.model: s for s in folder.read_scores() if s.measure == "familiarity_judged"}
        assert scores["base"].examples == (1.0, 0.2, 1.0)
        assert scores["unlearned"].examples == (0.0, 0.0, 0.0)
        record = json.loads(folder.record.read_text())
        assert [note for note in record["warnings"] if note.startswith("1 of 8 replies of the judge")]
        page = folder.report.read_text(encoding="utf-8")
        assert "Familiarity as judged" in page
        assert "1 of 8 replies of the judge could not be read" in page
        expunge.forget(str(target), out=out, **judged)
        assert len(endpoint.requests) == 8
        assert (out / "model" / "model.safetensors").stat().st_mtime_ns == model
        assert not any(b"secret-key" in path.read_bytes() for path in out.rglob("*") if path.is_file())
    finally:
        endpoint.close()
