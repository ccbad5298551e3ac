"""What is measured of one model, before and after: familiarity, recall, perplexity, general knowledge, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.benchmarks import BENCHMARKS, available, load_questions
from expunge.kinds.language.measures.by_target import Target, target_scores
from expunge.kinds.language.measures.familiarity import (
    Prompt,
    TargetTerms,
    familiarity_by_completion,
    familiarity_by_probability,
)
from expunge.kinds.language.measures.general_knowledge import general_knowledge
from expunge.kinds.language.measures.multiple_choice import choices_by, score
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.measures.recall import RECALL, verbatim_recall
from expunge.kinds.language.measures.secret import Secret, secret_scores
from expunge.kinds.language.measures.two_answers import read_two_answers, two_answers
from expunge.kinds.language.recipe import Evaluation
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.toxicity.measures import Toxic

Show = Callable[[float, str], None]
Wanted = Collection[tuple[str, str]]
"(measure, split) of each wanted score"
SECRET = ("secret_exposure", "secret_log_likelihood", "secret_said")
"measures of `secret_scores`"
CORE = (
    "familiarity_completion",
    "familiarity_probability",
    *SECRET,
    *RECALL,
    "perplexity",
    "general_knowledge",
)
"measures of `measure_core`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Inputs of the measures; the same for every model of a run."""

    terms: TargetTerms
    completion: Sequence[Prompt] = ()
    probability: Sequence[Prompt] = ()
    control_completion: Sequence[Prompt] = ()
    "similar prompts on other subjects, on which the base model is measured with the same terms"
    control_probability: Sequence[Prompt] = ()
    forget: TokenTable
    retain: TokenTable
    ordinary: TokenTable
    secrets: Sequence[Secret] = ()
    targets: Sequence[Target] = ()
    "each of several targets separately; empty if there is one"


@dataclass(slots=True)
class Measured:
    """Scores of one model, and its outputs: group -> rows {"prompt", "said", ...}."""

    scores: list[Score] = field(default_factory=list)
    said: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    grades: list[int | None] = field(default_factory=list)
    "a judge's, of the completions; stored separately, not in `content`"
    toxic: Toxic | None = None
    "toxicity, if measured; stored separately, too"

    def content(self) -> dict[str, Any]:
        """A JSON value that `of` reads."""
        rows = [{**s.row(), "examples": list(s.examples)} for s in self.scores]
        return {"scores": rows, "said": self.said}

    @classmethod
    def of(cls, content: dict[str, Any]) -> Measured:
        rows = [{**row, "examples": tuple(row["examples"])} for row in content["scores"]]
        return cls([Score(**row) for row in rows], content["said"])


def measure_core(
    task: CausalLM,
    material: Material,
    settings: Evaluation,
    which: Which,
    seed: int,
    show: Show,
    wanted: Wanted | None = None,
) -> Measured:
    """Everything but the benchmarks; or only the `wanted` part of it, and what is computed with it."""
    measured = Measured()

    def asked(split: str, *measures: str) -> bool:
        return wanted is None or any((measure, split) in wanted for measure in measures)

    sides: list[tuple[str, Sequence[Prompt], Sequence[Prompt]]] = [
        ("forget", material.completion, material.probability)
    ]
    if which == "base":
        sides.append(("control", material.control_completion, material.control_probability))
    for number, (split, completion, probability) in enumerate(sides):
        if completion and asked(split, "familiarity_completion"):
            show(number * 0.25, f"familiarity by completion, {split}")
            familiar, completed = familiarity_by_completion(
                task,
                completion,
                material.terms,
                which,
                max_new_tokens=settings.max_new_tokens,
                samples=settings.samples,
                seed=seed,
                split=split,
            )
            measured.scores.append(familiar)
            if split == "forget":
                measured.said["completion prompt"] = completed
        if probability and asked(split, "familiarity_probability"):
            show(number * 0.25 + 0.2, f"familiarity by probability, {split}")
            measured.scores.append(familiarity_by_probability(task, probability, material.terms, which, split))
    secret_splits = ("forget", *(target.split for target in material.targets))
    if material.secrets and any(asked(split, *SECRET) for split in secret_splits):
        show(0.45, "exposure of secrets")
        exposed, guesses = secret_scores(
            task,
            material.secrets,
            which,
            alternatives=settings.secret_alternatives,
            seed=seed,
            parts={target.split: target.secrets for target in material.targets if target.secrets},
        )
        measured.scores += exposed
        measured.said["secret"] = guesses
    show(0.5, "verbatim recall")
    for split, table in (("forget", material.forget), ("retain", material.retain)):
        if not asked(split, *RECALL):
            continue
        scores, answers = verbatim_recall(task, table, split, which, min(32, settings.max_blocks))
        measured.scores += scores
        if scores and split == "forget":
            measured.said["passage of the target"] = answers[:8]
    show(0.75, "perplexity")
    for split in ("forget", "retain", "ordinary"):
        if asked(split, "perplexity"):
            measured.scores.append(perplexity(task, getattr(material, split), split, which, settings.max_blocks))
    if asked("general", "general_knowledge"):
        show(0.9, "general knowledge")
        known, measured.said["general question"] = general_knowledge(task, which)
        measured.scores.append(known)
    if material.targets:
        show(0.95, "each target")
        measured.scores += target_scores(task, material.targets, material.terms, which, settings, seed, asked)
    return measured


def measure_questions(task: CausalLM, path: Path, which: Which) -> Measured:
    """Questions with two answers about the target, from a file."""
    scores, said = two_answers(task, read_two_answers(path), which)
    return Measured(scores, {"question with two answers": said})


def measure_benchmarks(task: CausalLM, source: str, rows: int | None, which: Which, show: Show) -> Measured:
    """Accuracy on every multiple-choice benchmark in the folder (or of the hub)."""
    measured = Measured()
    names = list(BENCHMARKS) if source == "hub" else available(Path(source))
    for number, name in enumerate(names):
        questions = load_questions(name, source, rows)

        def advance(done: int, total: int, number: int = number, name: str = name) -> None:
            show((number + done / total) / len(names), name)

        log_probs = choices_by(task, questions, progress=advance)
        measured.scores += score(name, questions, log_probs, which)
    return measured


def side_by_side(measured: list[Measured]) -> list[dict[str, Any]]:
    """The models' outputs for the same prompts, side by side."""
    before, after = measured[0], measured[1]
    oracle = measured[2] if len(measured) > 2 else None
    rows = []
    for group, said in before.said.items():
        for i, row in enumerate(said):
            later = after.said[group][i]
            rows.append(
                {
                    "group": group,
                    "prompt": row["prompt"],
                    "before": row["said"],
                    "after": later["said"],
                    "retrained": None if oracle is None else oracle.said[group][i]["said"],
                    "true": row.get("true"),
                    "terms_before": row.get("terms", []),
                    "terms_after": later.get("terms", []),
                }
            )
    return rows
