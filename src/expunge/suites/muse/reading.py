"""MUSE's files (Shi et al. 2024, arXiv:2407.06460): texts to forget and to keep, passages and questions on them."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.errors import RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.kinds.language.measures.question_forms import Form
from expunge.suites.tofu.rows import Files, passages_of, text_of
from expunge.suites.tofu.sets import QuestionSets, Scoring, Series, pair, without_repeats

SERIES = {"scal": False, "sust": True}
"series of forget sets -> whether they are requests one after another"
CONTINUED = Form("text", new_tokens=128, cut=True)
"VerbMem: 128 tokens of a passage, as in MUSE's code"
ANSWERED = Form("text", opening="Answer:", new_tokens=32, stops=("\n\n", "\nQuestion", "Question:"))
"KnowMem: as in MUSE's code"
RECITED = ("verbmem", "rouge_l_f1", "extraction_strength", "exact_memorization")
KNOWN = ("knowmem", "rouge_l_f1", "rouge_l_recall")


def read_muse(data: str, series: Sequence[str] = (), texts: int | None = None) -> QuestionSets:
    """The sets of MUSE.

    The model is taught `raw/forget`, `raw/retain1` and `raw/retain2`, the oracle the last two; methods are given the first
    two. With a series the model is taught its texts, too, and the oracle still is not.

    Args:
        data: a folder with the files, or the id of the Hugging Face dataset.
        series: of `SERIES`.
        texts: at most so many of each set of raw texts.

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
    measured = {
        "forget_qa": _questions(files, "forget_qa"),
        "retain_qa": _questions(files, "retain_qa"),
        "verbmem": tuple(
            Asked(text_of(row, "prompt"), text_of(row, "gt"), source=row[0], form=CONTINUED)
            for row in files.rows("verbmem/forget")
        ),
    }
    measures = {"forget_qa": KNOWN, "retain_qa": KNOWN, "verbmem": RECITED}
    for split, name in (("forget_texts", "forget"), ("unseen_texts", "holdout"), ("retain_texts", "retain")):
        if files.first(f"privleak/{name}"):
            measured[split] = passages(f"privleak/{name}")
            measures[split] = ("nll",)
    missing = [name for name in ("forget", "holdout") if not files.first(f"privleak/{name}")]
    if missing:
        notes.append(f"PrivLeak is left out: there is no privleak/{' and no privleak/'.join(missing)}")
    if series:
        notes.append("a series is measured without PrivLeak, and no oracle is made for each of its parts")
    return QuestionSets(
        forget=forget,
        retain=retain,
        more_forget=tuple(more.values()),
        more_retain=more_retain,
        measured=measured,
        left_out=tuple(notes),
        scoring=Scoring(
            measures=measures,
            forgotten=("verbmem/verbmem", "forget_qa/knowmem"),
            utility="retain_qa/knowmem",
            members=("forget_texts", "unseen_texts"),
        ),
        series=tuple(parts),
    )


def _parts(files: Files, name: str, texts: int | None) -> tuple[tuple[Asked, ...], ...]:
    """The forget sets of a series: forget_1 and on, as many as there are."""
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
