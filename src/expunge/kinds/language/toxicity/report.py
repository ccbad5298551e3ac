"""Report section on toxicity: the distribution, the groups of people, the scorer's false alarms, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge.kinds.language.toxicity import figures as toxicity_figures
from expunge.kinds.language.toxicity.declared import GROUP, IDENTITY, MEASURES, PROMPTS
from expunge.kinds.language.toxicity.identity_terms import harmless
from expunge.report import figures, numbers, wording
from expunge.report.contents import Contents
from expunge.report.scores_table import Row, rows

HEADLINES = ("toxicity_share", "toxicity_any")
EXAMPLES = 8
"examples of each kind: still most toxic after, and most toxic before"
LONGEST = 400
"characters of a text to show"
WORST_TERMS = 6

SHOWN = {measure.name for measure in MEASURES} - {"distinct_2", "repetition", "answer_length"}
"measures that the section on toxicity shows"

SETTINGS = {
    "prompts": "prompts",
    "max_prompts": "of these used, at most",
    "samples": "continuations a prompt",
    "groups": "prompts by group",
    "group_prompts": "of these used for each group, at most",
    "group_samples": "continuations of a prompt by group",
    "max_new_tokens": "tokens of a continuation, at most",
    "temperature": "temperature",
    "top_p": "top-p",
    "threshold": "limit from which a continuation counts as toxic",
}
"settings of the sampling in words"

SCORERS_ARE_BLIND = (
    "Scorers of this kind judge by words. They miss hatred without swear words, and take quotations, denials and "
    "counter-speech for what they quote or oppose. Compare before and after; do not read a score as the truth about "
    "one text."
)


def toxicity_part(contents: Contents) -> dict[str, Any] | None:
    """Values of `toxicity.html.jinja`; None if toxicity was not measured."""
    table = [row for row in rows(contents.scores) if row.measure in SHOWN]
    if not table:
        return None
    settings = contents.recipe.get("toxicity") or {}
    of_prompts = {row.measure: row for row in table if row.split == PROMPTS}
    said = (contents.toxicity or {}).get("rows", [])
    main = [row for row in said if row["set"] == PROMPTS]
    groups, points = _groups(table), (contents.part("front") or {}).get("points")
    return {
        "cards": [_card(of_prompts[name]) for name in HEADLINES if name in of_prompts],
        "distribution": _distribution(main, float(settings.get("threshold", 0))) if main else None,
        "front": toxicity_figures.front("toxicity-front", points) if points else None,
        "groups": groups,
        "groups_figure": _groups_figure(groups) if groups else None,
        "false_alarms": {row.measure: row for row in table if row.split == IDENTITY},
        "blind": SCORERS_ARE_BLIND,
        "false_terms": _false_terms(table),
        "settings": _settings(settings, contents),
        "examples": _examples(main or said),
        "models": [model for model in wording.MODELS if any(model in row for row in said)],
    }


def _card(row: Row) -> dict[str, Any]:
    before, after = row.by_model.get("base"), row.by_model.get("unlearned")
    less = None if before is None or after is None or before.value <= 0 else 1 - after.value / before.value
    return {"row": row, "less": less}


def _groups(table: Sequence[Row]) -> list[dict[str, Any]]:
    """Name, toxicity and share of empty answers of each group of people."""
    empty = {row.split: row for row in table if row.measure == "answers_empty"}
    return [
        {"name": row.split.removeprefix(GROUP), "toxic": row, "empty": empty.get(row.split)}
        for row in table
        if row.measure == "toxicity_share" and row.split.startswith(GROUP)
    ]


def _groups_figure(groups: Sequence[Mapping[str, Any]]) -> Markup:
    measured = [(wording.readable(g["name"]), "toxic continuations", True, g["toxic"].by_model) for g in groups]
    models = {m: dot for m, dot in figures.MODEL_DOTS.items() if any(m in g["toxic"].by_model for g in groups)}
    return figures.dots("toxicity-groups", "Toxic continuations by group", figures.panels(measured), models)


def _distribution(said: Sequence[Mapping[str, Any]], threshold: float) -> Markup:
    values = {
        model: [value for row in said for _, value in row[model]]
        for model in wording.MODELS
        if all(model in row for row in said)
    }
    return toxicity_figures.distribution("toxicity-distribution", values, threshold)


def _false_terms(table: Sequence[Row]) -> list[tuple[str, str]]:
    """(term, share of its harmless sentences at the threshold or above), the worst first; those without are left
    out."""
    row = next((row for row in table if row.measure == "scorer_false_alarms"), None)
    sentences = harmless()
    if row is None or len(row.any.examples) != len(sentences):
        return []
    by_term: dict[str, list[float]] = {}
    for (term, _), flagged in zip(sentences, row.any.examples, strict=True):
        by_term.setdefault(term, []).append(flagged)
    shares = {term: sum(flags) / len(flags) for term, flags in by_term.items()}
    worst = sorted((term for term in shares if shares[term] > 0), key=lambda term: -shares[term])
    return [(term, numbers.share(shares[term], 0)) for term in worst[:WORST_TERMS]]


def _settings(settings: Mapping[str, Any], contents: Contents) -> list[tuple[str, str]]:
    scorer = (contents.toxicity or {}).get("scorer") or {}
    found = {words: settings.get(name) for name, words in SETTINGS.items()}
    for words in ("prompts", "prompts by group"):
        found[words] = (value := found[words]) and Path(value).name
    found |= {"seed": contents.recipe.get("seed"), "scorer": scorer.get("name")}
    return [(words, str(value)) for words, value in found.items() if value is not None]


def _examples(said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The prompts on which a continuation is most toxic after, then those on which one was before; for each model the
    most toxic continuation, None if the model was not measured."""

    def worst(row: Mapping[str, Any], model: str) -> float:
        return max((value for _, value in row.get(model, ())), default=0.0)

    last = "unlearned" if any("unlearned" in row for row in said) else "base"
    places = sorted(range(len(said)), key=lambda i: -worst(said[i], last))[:EXAMPLES]
    before = sorted(range(len(said)), key=lambda i: -worst(said[i], "base"))
    places += [i for i in before if i not in places][:EXAMPLES]
    return [
        {"prompt": _cut(said[i]["prompt"]), "said": {m: _worst(said[i].get(m)) for m in wording.MODELS}} for i in places
    ]


def _worst(said: Sequence[Sequence[Any]] | None) -> dict[str, str] | None:
    if not said:
        return None
    text, value = max(said, key=lambda pair: pair[1])
    return {"text": _cut(text), "value": numbers.fixed(value, 2)}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else "… " + text[-LONGEST:]
