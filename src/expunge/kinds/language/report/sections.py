"""Report sections that only language models have: familiarity, answers, token probabilities, losses, tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from expunge.kinds.language.report import answers
from expunge.kinds.language.report.inputs import inputs, left_out
from expunge.kinds.language.report.targets import targets_part
from expunge.kinds.language.toxicity.report import toxicity_part
from expunge.report import figures, numbers, probes, wording
from expunge.report.contents import Contents
from expunge.report.scores_table import rows, score_text, without_details, worst

FAMILIARITIES = (
    "familiarity_completion",
    "familiarity_probability",
    "two_answers",
    "familiarity_judged",
    "secret_exposure",
)

OVER = {"secret_exposure": "secrets", "two_answers": "questions"}
"the unit of a measure, if not prompts"


def language_parts(contents: Contents) -> dict[str, Any]:
    """Values of `report.html.jinja` that only runs on a language model have."""
    familiarity = _familiarity(contents)
    followed = [probe for probe in probes.probes(contents.probes) if probe.tokens]
    return {
        "asked_and_done": _asked_and_done(contents),
        "familiarity": familiarity,
        "targets": targets_part(contents),
        "score_text": score_text,
        "familiarity_figure": _familiarity_figure(familiarity),
        "worst": worst(without_details(rows(contents.scores))),
        "toxicity": toxicity_part(contents),
        "answer_groups": answers.groups(contents.answers),
        "probes": [(probe, figures.probabilities(f"probe{i}", probe)) for i, probe in enumerate(followed)],
        "losses": figures.losses("losses", contents.steps) if contents.steps else None,
        "evaluated": _evaluated(contents),
        "first_and_last": (contents.steps[0], contents.steps[-1]) if contents.steps else None,
        "has_retain_loss": any(
            row.get(key) is not None for row in contents.steps for key in ("retain_loss", "retain_truth")
        ),
        "inputs": inputs(contents),
        "cost": _cost(contents),
    }


def _evaluated(contents: Contents) -> dict[str, Any] | None:
    """Evaluation during training on a few texts of each set: a figure, and a table of some steps, including the kept
    one."""
    seen = contents.evaluations
    if not seen:
        return None
    kept = contents.kept_step
    chosen = sorted(
        {*probes.evenly(len(seen), probes.COLUMNS), *(at for at, row in enumerate(seen) if row["step"] == kept)}
    )
    sets = [(key, title) for key, title in figures.EVALUATED.items() if any(key in row for row in seen)]
    table = [(title, [numbers.plain(seen[at].get(key)) for at in chosen]) for key, title in sets]
    if any("margin" in row for row in seen):
        table.append(("tokens with a margin", [numbers.share(seen[at].get("margin")) for at in chosen]))
    return {
        "figure": figures.evaluations("evaluations", seen, kept),
        "steps": [f"{seen[at]['step']}{' (kept)' if seen[at]['step'] == kept else ''}" for at in chosen],
        "rows": table,
        "all": len(chosen) == len(seen),
    }


def _asked_and_done(contents: Contents) -> str:
    """A summary of the run in two or three sentences."""
    cost, sets = contents.part("cost") or {}, contents.part("sets") or {}
    method = f"The method “{wording.method(contents.method)}”"
    if contents.record is None:
        done = f"has run for {numbers.count(contents.steps[-1]['step'])} steps" if contents.steps else "has not begun"
        return f"{method} {done}. The run has not ended."
    text = f"{method} was applied to the model"
    text += f" in {numbers.count(cost['steps'])} steps" if cost.get("steps") else ""
    text += f", {numbers.seconds(cost['seconds_total'])} in all" if cost.get("seconds_total") is not None else ""
    if (share := cost.get("share_of_retraining")) is not None:
        text += f", on {numbers.share(share, 0)} of the tokens that training without the forget set took"
    text += "."
    if keeps := contents.part("keeps"):
        text += f" The result {keeps}; anyone with its files has it."
    text += wording.sizes(sets, ("documents", "blocks", "tokens")) + left_out(contents)
    if not contents.recipe.get("retain"):
        text += (
            " The retain set is the clean statements of the same data."
            if contents.recipe.get("forget_kind") == "toxicity"
            else " No retain set was given: text to retain was sampled from the model itself."
        )
    return text


def _familiarity(contents: Contents) -> list[dict[str, Any]]:
    found = []
    for name in FAMILIARITIES:
        before, after = contents.score(name, "base"), contents.score(name, "unlearned")
        if before is None:
            continue
        row = next(row for row in rows(contents.scores) if row.measure == name and row.split == before.split)
        control = contents.control(name)
        excess = before.value - (control.value if control else 0.0)
        less = None if after is None or excess <= 0 else (before.value - after.value) / excess
        if less is not None and less < 0:  # a rise is a share of the value before, with or without a control
            less = less * excess / before.value
        over = f"{row.n} {OVER.get(name, 'prompts')}"
        found.append({"row": row, "words": wording.measure(name), "less": less, "control": control, "over": over})
    return found


def _familiarity_figure(parts: list[dict[str, Any]]) -> Markup | None:
    measures = [
        (part["words"].title, part["row"].by_model | ({"control": part["control"]} if part["control"] else {}))
        for part in parts
    ]
    return figures.familiarity("familiarity", measures) if measures else None


def _said(number: float | None, shown: Callable[[float], str]) -> str:
    """What the plan at the head of the run said, after what was measured."""
    return "" if number is None else f" (planned: {shown(number)})"


def _cost(contents: Contents) -> list[tuple[str, str]]:
    cost = contents.part("cost")
    if not cost:
        return []
    share, of_time = cost.get("share_of_retraining"), cost.get("share_of_retraining_seconds")
    speed, planned = cost.get("tokens_per_second"), contents.part("planned") or {}
    return [
        (
            "Time in all",
            numbers.seconds(cost.get("seconds_total")) + _said(planned.get("run_seconds"), numbers.seconds),
        ),
        ("Unlearning ended", str(contents.part("stopped") or "not recorded")),
        ("Steps of unlearning", numbers.UNKNOWN if cost.get("steps") is None else numbers.count(cost["steps"])),
        ("Speed of unlearning", numbers.UNKNOWN if speed is None else f"{numbers.count(speed)} tokens a second"),
        ("Peak memory", numbers.peaks(cost) + _said(planned.get("peak_bytes"), numbers.bytes_)),
        ("Tokens trained on, of those of retraining", "not known" if share is None else numbers.share(share)),
        ("Time, of that of retraining", "not known" if of_time is None else numbers.share(of_time)),
    ]
