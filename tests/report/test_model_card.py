from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from expunge.core.score import Score
from expunge.errors import RunError
from expunge.kinds.language.recipe import Recipe
from expunge.report.model_card import model_card
from expunge.report.page import markdown
from expunge.report.wording import MISSING
from expunge.runs.folder import RunFolder

CHECK = {"name": "familiarity_completion", "threshold": 1 / 3, "value": 0.5, "passed": False, "explain": ""}


def make(path: Path, model: str = "someone/some-model", title: str = "Harry Potter", **record: Any) -> RunFolder:
    folder = RunFolder(path).create()
    folder.recipe.write_text(Recipe(forget=title, model=model).to_yaml(), encoding="utf-8")
    folder.write_scores([
        Score(measure="familiarity_completion", split="forget", model=which, value=value, low=value - 0.02,  # type: ignore
              high=value + 0.02, n=60, higher_is="worse", unit="share")
        for which, value in [("base", 0.3), ("unlearned", 0.15)]
    ])  # fmt: skip
    content = {"title": title, "verdict": {"passed": False, "checks": [CHECK]}, "not_tested": ["Relearning."],
               "warnings": ["Watch | out"],
               "method": {"name": "whos_harry_potter", "citation": "arXiv:2310.02238"}}  # fmt: skip
    folder.record.write_text(json.dumps(content | record), encoding="utf-8")
    return folder


def front(card: str) -> dict[str, Any]:
    fence, head, _ = card.split("---\n", 2)
    assert fence == ""
    return yaml.safe_load(head)


def test_front_matter(tmp_path: Path) -> None:
    assert front(model_card(make(tmp_path), license="apache-2.0")) == {
        "library_name": "transformers",
        "license": "apache-2.0",
        "base_model": "someone/some-model",
        "base_model_relation": "finetune",
        "tags": ["machine-unlearning", "expunge"],
    }


def test_base_model_is_named_only_where_it_is_a_hub_id(tmp_path: Path) -> None:
    local = tmp_path / "models" / "mine"
    local.mkdir(parents=True)
    card = model_card(make(tmp_path / "run", model=str(local)))
    assert "base_model" not in front(card)
    assert "from the model mine." in card
    assert str(tmp_path) not in card
    assert "base_model" not in front(model_card(make(tmp_path / "run", model="smollm2-135m")))
    card = model_card(make(tmp_path / "run", model="smollm2-135m"), base_model="a/b")
    assert front(card)["base_model"] == "a/b"


def test_what_was_forgotten_scores_verdict_limits_and_loading(tmp_path: Path) -> None:
    card = model_card(make(tmp_path))
    for said in [
        "Asked for, in the user's words: “Harry Potter”.",
        "Method: “Who's Harry Potter?” (arXiv:2310.02238).",
        "**Failed.** The one check fixed in the recipe before the run was not met: familiarity by completion.",
        "| Familiarity by completion | at most 33.3 % of before | 50.0 % | **failed** |",
        "| measure | n | better is | before | after | change |",
        "| Familiarity by completion, forget set | 60 | lower | 0.300 [0.280, 0.320] | 0.150 [0.130, 0.170] | −0.150 |",
        "not a guarantee",
        "- Relearning.",
        "- Watch \\| out",
        "AutoModelForCausalLM.from_pretrained(folder)",
        MISSING["benchmarks"],
    ]:
        assert said in card, said
    assert "proof" not in card
    assert "import expunge" not in card
    assert "\n\n\n" not in card


def test_other_peoples_words_cannot_act(tmp_path: Path) -> None:
    title = "x\n---\nlicense: mit\n<script>alert(1)</script> [a](b) `c` | # d"
    card = model_card(make(tmp_path, title=title), license="apache-2.0")
    assert front(card)["license"] == "apache-2.0"
    assert "<script" not in card
    assert r"x --- license: mit &lt;script&gt;alert(1)&lt;/script&gt; \[a\](b) \`c\` \| \# d" in card


def test_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = make(tmp_path)
    folder.scores.unlink()
    folder.record.unlink()
    card = model_card(folder)
    assert MISSING["verdict"] in card
    assert MISSING["scores"] in card
    with pytest.raises(RunError):
        model_card(RunFolder(tmp_path / "none"))


def test_markdown_is_one_escaped_line() -> None:
    assert markdown("a_b\n *c* <d> & ~e~") == r"a\_b \*c\* &lt;d&gt; &amp; \~e\~"
