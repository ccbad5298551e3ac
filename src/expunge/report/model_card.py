"""The model card: `README.md` of the unlearned model's folder, from the files of its run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from expunge.report import wording
from expunge.report.contents import Contents, read_contents
from expunge.report.page import render_page
from expunge.report.scores_table import gaps, rows, without_details
from expunge.report.verdict_words import verdict_words
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import kinds_of

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_card(folder: RunFolder, base_model: str | None = None, license: str | None = None) -> str:
    """The card of a run's unlearned model as Markdown with a YAML front matter.

    The card lists what the run lacks (scores, a verdict) as missing.

    Args:
        base_model: Hugging Face id of the base model; if not given, the recipe's model if that is such an id.
        license: the base model's licence identifier, where known.

    The card quotes no answers: they may contain the forget set. Raises `RunError` unless `folder` is a run.
    """
    contents = read_contents(folder)
    table = without_details(rows(contents.scores))
    base = base_model or _hub_id(contents)
    evidence = kinds_of(contents.task)[0].make_evidence()
    library, loading = evidence.loading(folder)
    card = render_page(
        "model_card.md.jinja",
        library=library,
        loading=loading,
        limits=evidence.limits,
        front=_front_matter(base, license, library),
        run=contents,
        base=base or Path(str(contents.recipe.get("model", "not named"))).name,
        verdict=verdict_words(contents.part("verdict"), later=contents.measured_later),
        rows=table,
        models=[model for model in wording.MODELS if any(model in row.by_model for row in table)],
        gaps=gaps(table, benchmarks=evidence.benchmarks),
    )
    return card + "\n"


def _front_matter(base_model: str | None, license: str | None, library: str) -> str:
    fields: dict[str, Any] = {"library_name": library}
    if license:
        fields["license"] = license
    if base_model:
        fields["base_model"] = base_model
        fields["base_model_relation"] = "finetune"
    fields["tags"] = ["machine-unlearning", "expunge"]
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _hub_id(contents: Contents) -> str | None:
    model = str(contents.recipe.get("model", ""))
    return model if HUB_ID.fullmatch(model) and not Path(model).exists() else None
