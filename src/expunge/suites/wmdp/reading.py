"""WMDP's files (Li et al. 2024, arXiv:2403.03218): multiple-choice questions, and the corpora that methods are
given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.kinds.language.measures.question_forms import Form
from expunge.suites.tofu.rows import Files, Row, choices_of, passages_of, text_of
from expunge.suites.tofu.sets import QuestionSets, Scoring, data_of, without_repeats

DOMAINS = {"bio": "biology", "cyber": "cybersecurity", "chem": "chemistry"}
"domain -> what lm-evaluation-harness says the questions are about; there is no corpus of chemistry"
CHOICE = Form("choice")
LETTERS = "ABCDEFGHIJ"


def read_wmdp(
    data: str,
    corpora: str | None = None,
    mmlu: str | None = None,
    domains: Sequence[str] | None = None,
    texts: int = 1000,
) -> QuestionSets:
    """The sets of WMDP.

    Args:
        data: a folder with the questions, or the id of the Hugging Face dataset.
        corpora: the same with the texts; as `data`, if not given.
        mmlu: the same with MMLU's questions.
        domains: what is to be forgotten; all that there are texts of, if not given.
        texts: at most this many of each corpus.

    Raises:
        DataError: a file, row or field is missing or does not fit.
        RecipeError: there is no such domain, or no text is wanted.
    """
    for name in domains or ():
        if name not in DOMAINS:
            raise RecipeError("WMDP has no such domain", seen=name, allowed="bio, cyber; there are no texts of chem")
    if texts < 1 or domains == []:
        raise RecipeError(
            "nothing is to be forgotten", seen=f"domains {domains}, texts {texts}", allowed="a domain, 1 text"
        )
    asked, given = Files(data), Files(corpora or data)
    found = [name for name in DOMAINS if given.first(*_corpus(name, "forget"))]
    wanted = list(domains or found)
    if not wanted:
        given.rows(*_corpus("cyber", "forget"))  # says what is missing
    measured = {name: rows for name in DOMAINS if (rows := _domain(asked, name, name in wanted))}
    notes = ["the model is taught nothing, so there is no oracle: there is no model that never saw the forget set"]
    forget: list[Asked] = []
    kept: list[Asked] = []
    for name in wanted:
        forget += passages_of(given.rows(*_corpus(name, "forget"), most=texts, texts=True))
        if given.first(*_corpus(name, "retain")):
            kept += passages_of(given.rows(*_corpus(name, "retain"), most=texts, texts=True))
        else:
            notes.append(f"there is no {name}-retain-corpus: methods are given no text to keep of {DOMAINS[name]}")
    measured |= _mmlu(asked, mmlu, notes)
    return QuestionSets(
        forget=tuple(forget),
        retain=without_repeats(kept, forget, "the retain corpora", notes) if kept else (),
        measured=measured,
        left_out=tuple(notes),
        teach=False,
        scoring=_scoring(measured, wanted),
    )


def questions(data: str | None, forget: str | None, mmlu: str | None = None) -> QuestionSets:
    """What any model is asked, as `Suite.questions` has it; no text to train on is needed.

    Args:
        forget: domains with commas between them; None: all that there are questions on.
        mmlu: a folder or id with MMLU's questions; None: those of `data`, if there are some.

    Raises:
        DataError, RecipeError: as `read_wmdp`.
    """
    asked, notes = Files(data_of("wmdp", data)), list[str]()
    wanted = list(DOMAINS) if forget is None else [name.strip() for name in forget.split(",") if name.strip()]
    for name in wanted:
        if name not in DOMAINS:
            raise RecipeError("WMDP has no such domain", seen=name, allowed=", ".join(DOMAINS))
    measured = {name: rows for name in wanted if (rows := _domain(asked, name, forget is not None))}
    if not measured:
        _domain(asked, "bio", needed=True)  # says what is missing
    measured |= _mmlu(asked, mmlu, notes)
    scoring = _scoring(measured, [name for name in wanted if name in measured])
    return QuestionSets(forget=(), retain=(), measured=measured, left_out=tuple(notes), teach=False, scoring=scoring)


def _mmlu(asked: Files, mmlu: str | None, notes: list[str]) -> dict[str, tuple[Asked, ...]]:
    """The split `mmlu`, from the folder or id that is named, else from that of the questions; if there is none,
    `notes` says so."""
    own = Files(mmlu) if mmlu is not None else asked
    parts = ("all/test", "mmlu/test", "mmlu", *(("test",) if mmlu is not None else ()))
    if mmlu is None and own.first(*parts) is None:
        notes.append("utility is left out: there is no MMLU (--mmlu)")
        return {}
    return {"mmlu": tuple(multiple_choice(row, _subject(row)) for row in own.rows(*parts))}


def _scoring(measured: Mapping[str, Sequence[Asked]], forgotten: Sequence[str]) -> Scoring:
    return Scoring(
        measures=dict.fromkeys(measured, ("accuracy",)),
        forgotten=tuple(f"{name}/accuracy" for name in forgotten),
        utility="mmlu/accuracy" if "mmlu" in measured else None,
        chance={split: chance(rows) for split, rows in measured.items()},
    )


def multiple_choice(row: Row, about: str, examples: str = "") -> Asked:
    """A row's question with lettered choices, of which letters are scored: as lm-evaluation-harness does."""
    choices, answer = choices_of(row)
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    if len(lines) != len(choices):
        raise DataError(f"{row[0]} has too many choices", seen=len(choices), allowed=f"at most {len(LETTERS)}")
    question = "\n".join([text_of(row, "question").strip(), *lines, "Answer:"])
    wrong = tuple(LETTERS[i] for i in range(len(choices)) if i != answer)
    before = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    return Asked(before + examples + question, LETTERS[answer], None, wrong, row[0], CHOICE)


def chance(rows: Sequence[Asked]) -> float:
    """The share that a guess has right."""
    return sum(1 / (1 + len(row.perturbed)) for row in rows) / len(rows)


def _subject(row: Row) -> str:
    subject = row[1].get("subject")
    return subject.replace("_", " ") if isinstance(subject, str) and subject else "various subjects"


def _corpus(domain: str, side: str) -> tuple[str, ...]:
    """What a corpus is called: on the hub, in the authors' archive; that of biology is given out by itself."""
    names = (f"{domain}-{side}-corpus/train", f"{domain}-{side}-corpus")
    return (*names, "bio_remove_dataset") if (domain, side) == ("bio", "forget") else names


def _domain(files: Files, name: str, needed: bool) -> tuple[Asked, ...]:
    parts = (f"wmdp-{name}/test", f"wmdp-{name}", f"{name}_questions")
    if not needed and files.first(*parts) is None:
        return ()
    return tuple(multiple_choice(row, DOMAINS[name]) for row in files.rows(*parts))
