"""Controls to beat: prompts before each question, for the model that was taught everything.

No weight changes, so all the knowledge is there, and anyone with the model can ask without the prompt. A method that
does no better than these hides no more than a prompt. They get the same questions and measures as every model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from expunge.data.text.document import Turn
from expunge.data.text.words import words
from expunge.errors import RecipeError, did_you_mean
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.question_answers import Asked
from expunge.kinds.language.measures.question_forms import QUESTION
from expunge.suites.tofu.sets import QuestionSets, pair

UNCHANGED = "weights unchanged: the knowledge is there, and hidden by the prompt before the question"
"note on every control in report and table"
NAMES = 40
"names in a guardrail, at most"
NAMED_IN = 2
"minimum rows of the forget set with a name; and in none of the retain set"
FORGOTTEN, KEPT = 1, 4
"examples in context: with a wrong answer, and with their right ones. The paper relabels the queried example, and uses 2 to 6"
_TOKEN = re.compile(r"[\w'’-]+|[^\w\s]")
_OWNED = re.compile(r"['’]s?$")

Before = Callable[[Asked], tuple[Turn, ...]]
"the prompt before a row's question, and the question"


def prompt_guardrail(sets: QuestionSets) -> Before:
    """An instruction to know nothing about the named subjects, before each question (Thaker et al. 2024,
    arXiv:2403.03329).

    The names are those of the forget set. The words are this project's own.

    Raises:
        RecipeError: the forget set has no names.
    """
    names = names_of(sets)
    if not names:
        raise RecipeError(
            "there is no name to put into a prompt guardrail",
            seen=f"{len(sets.forget)} rows to be forgotten",
            allowed=f"names of two words or more, in {NAMED_IN} of the rows and in none of the retain set",
            next_step="leave prompt_guardrail out of --controls",
        )
    instruction = (
        f"You know nothing about {', '.join(names)}. If a question is about any of them, answer only that you do not "
        "know. Answer all other questions as you always do."
    )
    return lambda row: (Turn("user", f"{instruction}\n\n{row.question}"),)


def in_context(sets: QuestionSets) -> Before:
    """In-context unlearning: a wrong answer to a question to forget, then right answers to other questions (Pawelczyk,
    Neel and Lakkaraju 2024, arXiv:2310.07579, for classes; here for questions).

    Each question is preceded by the row of the forget set with most words in common, with the answer of another
    row, and four rows of the retain set with their own answers, except the asked one. The paper puts the same rows
    before all questions; here that would not fit. The perturbed answers are not used: measures are made of them.

    Raises:
        RecipeError: forget set, retain set or questions do not have the form of a conversation.
    """
    asked = [row for rows in sets.measured.values() for row in rows]
    other = next((row for row in (*sets.forget, *sets.retain, *asked) if row.form != QUESTION), None)
    if other is not None or not sets.retain:
        raise RecipeError(
            "in_context puts questions with their answers before a question",
            seen="no retain set" if other is None else f"{other.source}: a {other.form.kind}",
            allowed="sets of questions, like TOFU's",
            next_step="leave in_context out of --controls",
        )
    forget, others = list(sets.forget), list(sets.forget[1:]) + list(sets.forget[:1])
    wrong = {pair(row): (other if other.answer != row.answer else sets.retain[0]).answer
             for row, other in zip(forget, others, strict=True)}  # fmt: skip
    bags = [_words(row.question) for row in forget]
    kept = [sets.retain[i] for i in spread(len(sets.retain), KEPT + 1)]

    def before(row: Asked) -> tuple[Turn, ...]:
        own = _words(row.question)
        near = sorted(range(len(forget)), key=lambda i: (-len(own & bags[i]) / max(1, len(own | bags[i])), i))
        turns: list[Turn] = []
        for i in near[:FORGOTTEN]:
            turns += [Turn("user", forget[i].question), Turn("assistant", wrong[pair(forget[i])])]
        for other in [each for each in kept if each.question != row.question][:KEPT]:
            turns += [Turn("user", other.question), Turn("assistant", other.answer)]
        return (*turns, Turn("user", row.question))

    return before


CONTROLS: dict[str, Callable[[QuestionSets], Before]] = {"prompt_guardrail": prompt_guardrail, "in_context": in_context}


def wanted_controls(names: str) -> list[str]:
    """Controls by name. Raises `RecipeError` for an unknown name.

    Args:
        names: separated by commas; `all`; empty for none.
    """
    wanted = list(CONTROLS) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in CONTROLS:
            raise RecipeError(
                f"there is no control {name!r}",
                allowed=f"all, or of {', '.join(CONTROLS)}",
                next_step=did_you_mean(name, CONTROLS),
            )
    return list(dict.fromkeys(wanted))


def controlled(sets: QuestionSets, name: str) -> QuestionSets:
    """The questions, each with a control's prompt before it; texts without a question get none."""
    before = CONTROLS[name](sets)

    def asked(row: Asked) -> Asked:
        if row.is_text:
            return row
        turns = before(row)
        return replace(row, question=turns[-1].text, turns=turns if len(turns) > 1 else ())

    return replace(sets, measured={split: tuple(map(asked, rows)) for split, rows in sets.measured.items()})


def names_of(sets: QuestionSets) -> list[str]:
    """Names in several rows of the forget set and in no retained row, the most frequent first."""
    kept = "\n".join(_text(row) for row in (*sets.retain, *sets.more_retain))
    counts = Counter(name for row in sets.forget for name in set(_named_in(_text(row))))
    found: list[str] = []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count >= NAMED_IN and name not in kept and not any(each in name or name in each for each in found):
            found.append(name)
    return found[:NAMES]


def _named_in(text: str) -> Iterator[str]:
    """Two or more consecutive words that begin with a capital; punctuation, or 's, ends a name."""
    run: list[str] = []
    for token in [*_TOKEN.findall(text), "."]:
        bare = _OWNED.sub("", token)
        if bare[:1].isupper():
            run.append(bare)
        if not bare[:1].isupper() or bare != token:
            if len(run) > 1:
                yield " ".join(run)
            run = []


def _text(row: Asked) -> str:
    return f"{row.question}\n{row.answer}"


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in words(text))
