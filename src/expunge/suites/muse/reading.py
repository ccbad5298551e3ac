"""MUSE's files (Shi et al. 2024, arXiv:2407.06460): texts to forget and to retain, passages and questions on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from expunge.data.text.words import words
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.kinds.language.measures.question_forms import Form
from expunge.suites.tofu.rows import Files, passages_of, text_of
from expunge.suites.tofu.sets import QuestionSets, Scoring, Series, data_of, pair, without_repeats

SERIES = {"scal": False, "sust": True}
"series of forget sets -> whether they are requests one after another"
CONTINUED = Form("text", new_tokens=128, cut=True)
"VerbMem: 128 tokens of a passage, as in MUSE's code"
ANSWERED = Form("text", opening="Answer:", new_tokens=32, stops=("\n\n", "\nQuestion", "Question:"))
"KnowMem: as in MUSE's code"
RECITED = ("verbmem", "rouge_l_f1", "extraction_strength", "exact_memorization")
KNOWN = ("knowmem", "rouge_l_f1", "rouge_l_recall")
MEMBERS = ("forget_texts", "unseen_texts")
"the splits that PrivLeak compares"
TEXTS = {"forget_texts": "forget", "unseen_texts": "holdout", "retain_texts": "retain"}
"split of texts -> its part of privleak"
RUN = 8
"consecutive words by which a passage is recognised"


def read_muse(data: str, series: Sequence[str] = (), texts: int | None = None) -> QuestionSets:
    """The sets of MUSE.

    The model is taught `raw/forget`, `raw/retain1` and `raw/retain2`, the oracle the last two; methods are given the
    first two. With a series the model is taught its texts, too, and the oracle still is not.

    Args:
        data: a folder with the files, or the id of the Hugging Face dataset.
        series: of `SERIES`.
        texts: at most this many of each set of raw texts.

    Raises:
        DataError: a file, row or field is missing or empty, or forget and retain set are not of one version.
        RecipeError: there is no such series, or no text is wanted.
    """
    for name in series:
        if name not in SERIES:
            raise RecipeError("MUSE has no such series", seen=name, allowed="scal, sust, or both with a comma between")
    if texts is not None and texts < 1:
        raise RecipeError("no text is wanted", seen=f"texts {texts}", allowed="1 or more")
    files = Files(data)

    def passages(name: str, most: int | None = None) -> tuple[Asked, ...]:
        return passages_of(files.rows(name, most=most, texts=True))

    forget = passages("raw/forget", texts)
    parts = [Series(name=name, parts=_parts(files, name, texts), chained=SERIES[name]) for name in series]
    own = {pair(row): row for row in forget}
    more = {pair(row): row for each in parts for part in each.parts for row in part if pair(row) not in own}
    notes: list[str] = []
    retain, more_retain = (
        without_repeats(passages(name, texts), list({**own, **more}.values()), name, notes)
        for name in ("raw/retain1", "raw/retain2")
    )
    measured = _measured(files, notes)
    refuse_other_texts(measured["verbmem"], forget if texts is None else passages("raw/forget"))
    if series:
        notes.append("a series is measured without PrivLeak, and no oracle is made for each of its parts")
    return QuestionSets(
        forget=forget,
        retain=retain,
        more_forget=tuple(more.values()),
        more_retain=more_retain,
        measured=measured,
        left_out=tuple(notes),
        scoring=_scoring(measured),
        series=tuple(parts),
    )


def questions(data: str | None, forget: str | None) -> QuestionSets:
    """The questions for any model, as in `Suite.questions`; raw texts are not needed, but checked if present.

    Raises:
        DataError, RecipeError: as `read_muse`; and a forget set that is named.
    """
    files, notes = Files(data_of("muse", data, forget)), list[str]()
    measured = _measured(files, notes)
    if files.first("raw/forget"):
        refuse_other_texts(measured["verbmem"], passages_of(files.rows("raw/forget", texts=True)))
    return QuestionSets(forget=(), retain=(), measured=measured, left_out=tuple(notes), scoring=_scoring(measured))


def _measured(files: Files, notes: list[str]) -> dict[str, tuple[Asked, ...]]:
    """The questions, split by split; `notes` gets what is not measured."""
    measured = {
        "forget_qa": _questions(files, "forget_qa"),
        "retain_qa": _questions(files, "retain_qa"),
        "verbmem": tuple(
            Asked(text_of(row, "prompt"), text_of(row, "gt"), source=row[0], form=CONTINUED)
            for row in files.rows("verbmem/forget")
        ),
    }
    for split, name in TEXTS.items():
        if files.first(f"privleak/{name}"):
            measured[split] = passages_of(files.rows(f"privleak/{name}", texts=True))
    missing = [TEXTS[split] for split in MEMBERS if split not in measured]
    if missing:
        notes.append(f"PrivLeak is left out: there is no privleak/{' and no privleak/'.join(missing)}")
    return measured


def _scoring(measured: Iterable[str]) -> Scoring:
    measures = {"forget_qa": KNOWN, "retain_qa": KNOWN, "verbmem": RECITED}
    return Scoring(
        measures={split: measures.get(split, ("nll",)) for split in measured},
        forgotten=("verbmem/verbmem", "forget_qa/knowmem"),
        utility="retain_qa/knowmem",
        members=MEMBERS,
    )


def refuse_other_texts(passages: Sequence[Asked], texts: Sequence[Asked]) -> None:
    """Raise if no passage to continue is in a text to forget: files of News mixed with those of Books.

    Words are compared, so white space does not count; and one passage that is found is enough, since some may be cut.
    """
    wanted = {run for row in passages for run in _runs(f"{row.question} {row.answer}")}
    if not any(run in wanted for row in texts for run in _runs(row.answer)):
        raise DataError(
            f"{passages[0].source}: no passage is from the texts to forget: the files are of different versions",
            seen=passages[0].answer[:80],
            allowed="passages of raw/forget",
            next_step="download all files of one dataset, MUSE-News or MUSE-Books, into a new folder",
        )


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """All runs of this many consecutive words."""
    found = [word.lower() for word in words(text)]
    return (tuple(found[i : i + RUN]) for i in range(len(found) - RUN + 1))


def _parts(files: Files, name: str, texts: int | None) -> tuple[tuple[Asked, ...], ...]:
    """The forget sets of a series: forget_1 and so on."""
    found: list[tuple[Asked, ...]] = []
    while not found or files.first(f"{name}/forget_{len(found) + 1}"):
        found.append(passages_of(files.rows(f"{name}/forget_{len(found) + 1}", most=texts, texts=True)))
    return tuple(found)


def _questions(files: Files, name: str) -> tuple[Asked, ...]:
    """Questions with their examples before them, in MUSE's words."""
    examples = ""
    if files.first(f"knowmem/{name}_icl"):
        for row in files.rows(f"knowmem/{name}_icl"):
            examples += f"Question: {text_of(row, 'question')}\nAnswer: {text_of(row, 'answer')}\n\n"
    return tuple(
        Asked(f"{examples}Question: {text_of(row, 'question')}\n", text_of(row, "answer"), source=row[0], form=ANSWERED)
        for row in files.rows(f"knowmem/{name}")
    )
