"""Which topic the starter model knows: familiarity beyond the control, and questions with two answers, for each candidate.

    python benchmarks/topic/choose.py --answers FOLDER --out benchmarks/topic/candidates.json [TOPIC ...]

FOLDER keeps what the model says of each topic (24 answers, the demo's templates). The control of a topic is what the model
says of the other candidates. Questions are those of candidates.tsv, in pairs whose answers are exchanged.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

from expunge.core.score import Score
from expunge.data.text.readers import read_documents
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.elicitation.asking import elicit_topic, write_rows
from expunge.kinds.language.elicitation.controls import names_topic
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import (
    TargetTerms,
    familiarity_by_completion,
    familiarity_by_probability,
)
from expunge.kinds.language.measures.prompts import cut_prompts
from expunge.kinds.language.measures.two_answers import TwoAnswers, two_answers
from expunge.kinds.language.sets import own_text, true_labels
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.measured_terms import target_terms
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.measures.statistics import difference_interval
from expunge.models.source import find_model
from expunge.train.precision import Precision

ANSWERS, PROMPTS, CONTROL_EACH = 24, 24, 4


def questions_of(path: Path) -> dict[str, list[TwoAnswers]]:
    found: dict[str, list[TwoAnswers]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            topic, one, right, two, other = line.split("\t")
            found.setdefault(topic, []).extend([TwoAnswers(one, right, other), TwoAnswers(two, other, right)])
    return found


def cut(task: CausalLM, rows: list[dict[str, str]], folder: Path, name: str) -> tuple[TokenTable, list[str]]:
    """(token table, texts by blocks without their questions)."""
    write_rows(rows, folder / f"{name}.jsonl")
    blocks = list(iterate_blocks(read_documents(str(folder / f"{name}.jsonl")), task.tokenizer, 512))
    (folder / name).mkdir()
    with TableWriter(folder / name) as table:
        for block in blocks:
            table.append(block.ids, true_labels(block))
    return TokenTable(folder / name), [own_text(block)[0] for block in blocks]


def familiarity(
    task: CausalLM, topic: str, rows: list[dict[str, str]], others: list[dict[str, str]]
) -> tuple[TargetTerms, dict[str, dict[str, list[float]]]]:
    """(terms, for either familiarity its values [mean, low, high] on the target, the control, and the excess)."""
    with tempfile.TemporaryDirectory() as scratch:
        table, texts = cut(task, rows, Path(scratch), "target")
        control, control_texts = cut(task, others, Path(scratch), "control")
        terms = target_terms(texts, build_dictionary(((text, ()) for text in texts), 1500, 0), control=control_texts)
        names = TargetTerms(tuple(a.term for a in build_dictionary(((text, ()) for text in control_texts), 400, 0)))
        sides = cut_prompts(task, table, terms, PROMPTS, 0), cut_prompts(task, control, names, PROMPTS, 0)
        scores: dict[str, list[Score]] = {}
        for early, exact in sides:
            if not early:
                return terms, {}
            completed, _ = familiarity_by_completion(task, early, terms, "base", max_new_tokens=24, samples=0, seed=0)
            scores.setdefault("completion", []).append(completed)
            scores.setdefault("probability", []).append(familiarity_by_probability(task, exact, terms, "base"))
    found = {}
    for name, (target, bar) in scores.items():
        pair = (target.value, target.low, target.high), (bar.value, bar.low, bar.high)
        found[name] = {
            "target": [*pair[0], target.n],
            "control": [*pair[1], bar.n],
            "excess": list(difference_interval(*pair)),
        }
    return terms, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topics", nargs="*")
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    task = LazyModel(find_model("smollm2-135m"), Precision("auto"))()
    questions = questions_of(Path(__file__).with_name("candidates.tsv"))
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    arguments.answers.mkdir(parents=True, exist_ok=True)

    def answers(topic: str) -> list[dict[str, str]]:
        path = arguments.answers / f"{re.sub(' ', '_', topic)}.json"
        if not path.is_file():
            so_far = SoFar(arguments.answers / "so-far.json", {"topic": topic})
            path.write_text(json.dumps(elicit_topic(task, topic, ANSWERS, 0, so_far), indent=1), encoding="utf-8")
            so_far.remove()
        return json.loads(path.read_text(encoding="utf-8"))[:ANSWERS]

    every = {topic: answers(topic) for topic in questions}
    for topic in arguments.topics or list(questions):
        others = [
            row
            for other, rows in every.items()
            if other != topic
            for row in rows[:CONTROL_EACH]
            if not names_topic(" ".join(row.values()), topic)
        ]
        terms, familiar = familiarity(task, topic, every[topic], others)
        scores, _ = two_answers(task, questions[topic], "base")
        asked = scores[0]
        results[topic] = {
            "familiarity": familiar,
            "two_answers": [asked.value, asked.low, asked.high, asked.n],
            "unique_terms": list(terms.unique[:20]),
            "typical_terms": list(terms.typical[:20]),
        }
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        line = ", ".join(f"{name} {each['target'][0]:.2f}-{each['control'][0]:.2f}" for name, each in familiar.items())
        print(f"{topic}: {line}, questions {asked.value:.2f}", flush=True)


if __name__ == "__main__":
    main()
