"""What a run works on: its sets as text and tokens, the target's terms, and the prompts of the measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from expunge.core import storage
from expunge.data.text.files_read import files_read, listed
from expunge.data.text.language import ENGLISH_ASSUMED, Language, language_notes, language_of, toxicity_notes
from expunge.errors import RecipeError
from expunge.kinds.language.chat import form_of
from expunge.kinds.language.elicitation.asking import asked_notes
from expunge.kinds.language.elicitation.control_prompts import control_prompts, topic_control
from expunge.kinds.language.elicitation.control_prompts import texts_of as texts_of_control
from expunge.kinds.language.elicitation.topic_forms import topic_forms
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.prompts import cut_prompts, read_prompts
from expunge.kinds.language.measures.scores import Material
from expunge.kinds.language.measures.secret import SHORT, Secret, secrets_in
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import (
    TextSet,
    blocks,
    forget_set,
    general_set,
    given_set,
    holdout_set,
    ordinary_set,
    own_text,
    retain_set,
    token_table,
)
from expunge.kinds.language.targets_apart import targets_apart
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.kept_terms import alone, rates, shared_note, without_shared
from expunge.kinds.language.terms.measured_terms import target_terms
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.toxicity.statements import GROUPS, read_statements, statement_table
from expunge.kinds.language.toxicity.toxic_text import ToxicText
from expunge.runs.context import Run

MAX_PROMPTS = 48
"completion prompts cut from the target"
SECRET_NOTE = (
    "the target is short and is taken for a secret ({}): its exposure is measured, and not familiarity with terms; "
    "for both give --prompts FILE, and for another part of it --evaluation.secret TEXT"
)
MAX_TERMS = 1500
"number of terms to find, independent of the method's anchors: the measure is the same for every method"


@dataclass(slots=True)
class Sets:
    """The sets of a run, as text and as token tables, and what the measures work on."""

    forget: TextSet
    retain: TextSet
    ordinary: TextSet
    kept: TokenTable
    "the retain set for training: the user's and general text sampled from the model"
    material: Material
    general: tuple[TextSet, list[int]] | None = None
    "general text for training in addition to the user's retain set, and its blocks' tokens; not used for measuring"
    own_rows: int = 0
    "blocks of `kept` that are the user's; they come first"
    notes: list[str] = field(default_factory=list)
    "notes for readers of the scores"
    groups: dict[str, list[str]] = field(default_factory=dict)
    "attribute columns of the forget set: name -> a group for each block"
    read: ToxicText | None = None
    "all statements read; the sets are a part of them"
    beginnings: list[str] = field(default_factory=list)
    "beginnings of toxic statements that are not trained on: for choosing settings"
    language: Language = ENGLISH_ASSUMED
    "of the forget set"
    forms: tuple[TextSet, TokenTable] | None = None
    "for a topic: further forms of the answers, and a table of the answers with these, to train on"

    holdout: tuple[TextSet, TokenTable] | None = None
    "text of the forget set's kind that no model saw, as text and as tokens"

    def tables(self) -> dict[str, TokenTable]:
        """Tables that a training may be evaluated on, by the name of their set; missing sets are left out."""
        found = {"forget": self.material.forget} | ({} if self.holdout is None else {"holdout": self.holdout[1]})
        found |= {"retain": self.material.retain} if self.retain.digest else {}
        return found | ({} if self.ordinary is self.forget else {"ordinary": self.material.ordinary})

    def kept_alone(self) -> TokenTable:
        """The user's retain set, without text that the model wrote; all of it if the model wrote all."""
        return self.kept.take(range(self.own_rows or len(self.kept)))

    def measured(self) -> dict[str, str]:
        """Digests of the sets that are measured on."""
        texts = {"forget": self.forget, "retain": self.retain, "ordinary": self.ordinary}
        return {f"{name} set": text.digest for name, text in texts.items()}

    def digests(self) -> dict[str, str]:
        further = {"general set": self.general, "holdout set": self.holdout}
        return self.measured() | {name: each[0].digest for name, each in further.items() if each is not None}

    def inputs_read(self) -> list[dict[str, Any]]:
        """For every given set, the files read and not read (see `files_read.listed`).

        Text that the model wrote is not an input. The tables of toxic and clean statements are listed once.
        """
        found = [
            listed("toxic and clean statements", each.source, each.folder, each.read, each.unread)
            for each in (self.read.sources if self.read is not None else ())
        ]
        further = [each[0] for each in (self.general, self.holdout) if each is not None]
        given: dict[str, TextSet] = {}
        for text in (self.forget, self.retain, self.ordinary, *further):
            if not text.generated and text.origin is None:
                given.setdefault(text.name, text)
        entries = (files_read(name, target, text.columns) for name, text in given.items() for target in text.targets)
        return found + [entry for entry in entries if entry is not None]

    def sizes(self) -> dict[str, dict[str, int | str | bool]]:
        material = self.material
        found = [
            ("forget", self.forget, material.forget.lengths),
            ("retain", self.retain, material.retain.lengths),
            ("ordinary", self.ordinary, material.ordinary.lengths),
        ]
        if self.general is not None:
            found.append(("general", self.general[0], np.asarray(self.general[1])))
        if self.holdout is not None:
            found.append(("holdout", self.holdout[0], self.holdout[1].lengths))
        if self.forms is not None:
            found.append(("forms", self.forms[0], self.forms[1].lengths[len(material.forget) :]))
        return {
            name: {
                "documents": sum(not document.continues for document in text.documents()),
                "blocks": len(lengths),
                "tokens": int(lengths.sum()),
                "source": "sampled from the model" if text.generated else text.origin or ", ".join(text.targets),
            }
            for name, text, lengths in found
        }


def read_target(run: Run[Recipe], base: LazyModel) -> tuple[TextSet, TokenTable]:
    """The forget set, as text and as tokens."""
    if run.recipe.forget_kind == "toxicity":
        toxic = read_statements(run).toxic
        return toxic, statement_table(run, toxic, base.tokenizer, base.tokenizer_digest)
    forget = forget_set(run, base)
    return forget, token_table(run, [forget], base)


def read_sets(run: Run[Recipe], base: LazyModel) -> Sets:
    """Read, elicit or sample the sets, find the target's terms, and cut prompts."""
    if run.recipe.forget_kind == "toxicity":
        return _read_toxicity_sets(run, base)
    forget, forget_table = read_target(run, base)
    tokenizer, settings = base.tokenizer, run.recipe.evaluation
    language = language_of((document.text for document in forget.documents()), run.recipe.data.language)
    familiar = settings.familiarity
    given = retain_set(run.recipe, forget, run.show)
    unseen = holdout_set(run.recipe, forget, given, run.show)
    like = topic_control(run, base) if familiar and run.recipe.forget_kind == "topic" else None

    content = found_terms(run, forget, forget_table, given, like, language, tokenizer)
    terms = TargetTerms(tuple(content["unique"]), tuple(content["typical"]), language.frequencies or "en")
    forms = None
    if run.recipe.forget_kind == "topic":
        further = topic_forms(run, forget, content.get("without_control", terms.unique), base)
        if further is not None:
            forms = further, token_table(run, [forget, further], base, balanced=False)
    named = [*terms.unique, *run.recipe.targets]
    general = general_set(run, forget, named, base)
    kept = [text for text in (given, general) if text is not None]
    if not kept:
        raise RecipeError(
            "there is no retain set", next_step="give --retain PATH, or let data.retain_answers be above 0"
        )
    retain = kept[0]
    ordinary = ordinary_set(run, forget, named, base)
    _report_reading(run, [forget, *([given] if given is not None else []), ordinary], tokenizer)
    kept_table, measured_table, ordinary_table = _kept_tables(run, base, kept, ordinary)
    # Cutting needs only a tokenizer, but prompts are encoded by the task, which is loaded for measuring anyway.
    wanted = settings.max_prompts or MAX_PROMPTS
    shared = shared_note(content["shared"], run.recipe.excerpts)
    notes = [*language_notes(language, familiar), *(f"familiarity: {note}" for note in shared)]
    if run.recipe.forget_kind == "topic":
        notes += asked_notes(run.recipe.targets, language)
    completion, probability = (
        cut_prompts(base(), forget_table, terms, wanted, run.recipe.seed) if familiar else ([], [])
    )
    if familiar and settings.prompts is not None:
        file = Path(settings.prompts)
        every = read_prompts(file, base())
        completion = [every[i] for i in spread(len(every), settings.max_prompts or len(every))]
        if len(completion) < len(every):
            notes.append(
                f"{len(completion)} of the {len(every)} prompts in {file.name} are used (evaluation.max_prompts)"
            )
            run.show.say(notes[-1])
    secrets = find_secrets(run.recipe, forget, forget_table, tokenizer, bool(completion))
    if secrets and forget_table.tokens <= SHORT and settings.prompts is None:
        completion, probability = [], []
        quoted = secrets[0].text if len(secrets) == 1 and run.recipe.excerpts else f"found in it: {len(secrets)}"
        notes.append(SECRET_NOTE.format(quoted))
        run.show.say(notes[-1])
    control: tuple[list[Prompt], list[Prompt]] = ([], [])
    if familiar and completion:
        control = control_prompts(run, like or retain, base, wanted, completion, language)
    if completion and not control[0]:
        notes.append("no prompt could be cut from the control's text, so familiarity is not compared with a control")
    material = Material(
        terms=terms,
        completion=completion,
        probability=probability,
        control_completion=control[0],
        control_probability=control[1],
        forget=forget_table,
        retain=measured_table,
        ordinary=ordinary_table,
        secrets=secrets,
        targets=targets_apart(run, forget, forget_table, base, terms if completion else None, secrets),
    )
    return Sets(
        forget,
        retain,
        ordinary,
        kept_table,
        material,
        _apart(run, general, tokenizer) if given is not None else None,
        storage.read_json(kept_table.folder / "parts.json")[0] if given is not None else 0,
        notes,
        language=language,
        forms=forms,
        holdout=None if unseen is None else (unseen, token_table(run, [unseen], base)),
    )


def found_terms(
    run: Run[Recipe],
    forget: TextSet,
    table: TokenTable,
    given: TextSet | None,
    like: TextSet | None,
    language: Language,
    tokenizer: Any,
) -> dict[str, Any]:
    """The target's terms: `unique`, `typical`, those `shared` with the retain set and left out; a stage.

    Args:
        table: the forget set as tokens.
        given: the user's retain set; like: what the terms are compared with.
    """

    def make(path: Path) -> None:
        def texts() -> Iterator[str]:
            return (own_text(block)[0] for block in blocks(forget, run.recipe, tokenizer))

        without_gains = ((text, ()) for text in texts())
        dictionary = build_dictionary(without_gains, MAX_TERMS, run.recipe.seed, language)
        control = () if like is None else texts_of_control(like, run.recipe, tokenizer)
        found = target_terms(texts(), dictionary, language, control)
        if given is not None:
            of = rates(dictionary, texts(), given.documents(), found.typical)
            dictionary, found = without_shared(dictionary, of), alone(found, of)
        content = {"unique": found.unique, "typical": found.typical, "shared": dictionary.shared}
        if run.recipe.forget_kind == "topic":
            content["without_control"] = target_terms(texts(), dictionary, language, ()).unique
        storage.write_json(path / "terms.json", content)

    made_from = {"tokens": table.folder.name, "seed": run.recipe.seed, "language": language.code}
    made_from |= {} if given is None else {"retain": given.digest}
    made_from |= {} if like is None else {"control": like.digest}
    content: dict[str, Any] = storage.read_json(
        run.cached("terms", made_from, make, "finding the target's terms") / "terms.json"
    )
    return content


def _report_reading(run: Run[Any], texts: Sequence[TextSet], tokenizer: Any) -> None:
    """Notes for readers of the scores on how the sets were read, and how the model is asked."""
    notes = [f"{text.name} set: {note}" for text in texts for note in text.notes]
    thinking = form_of(tokenizer).note
    for note in notes if thinking is None else [*notes, thinking]:
        run.notice(note)
        run.show.say(note)


def find_secrets(recipe: Recipe, forget: TextSet, table: TokenTable, tokenizer: Any, has_prompts: bool) -> list[Secret]:
    """The secrets to measure: those named; else what looks like one, in a short target or one without terms."""
    named = recipe.evaluation.secret
    if named is None and (not recipe.evaluation.familiarity or (has_prompts and table.tokens > SHORT)):
        return []
    names = () if named is None else (named,) if isinstance(named, str) else named
    text = ((block, own_text(block)[1]) for block in blocks(forget, recipe, tokenizer))
    return secrets_in(text, names, years=not has_prompts)


def _read_toxicity_sets(run: Run[Recipe], base: LazyModel) -> Sets:
    """Toxic statements, clean ones (with the user's retain set, if given), and ordinary text."""
    found = read_statements(run)
    language = language_of((document.text for document in found.toxic.documents()), run.recipe.data.language)
    tokenizer = base.tokenizer
    forget_table = statement_table(run, found.toxic, tokenizer, base.tokenizer_digest)
    own = given_set("retain", [run.recipe.retain], run.recipe, run.show) if run.recipe.retain is not None else None
    general = own or general_set(run, found.toxic, [], base)
    kept = [text for text in (found.clean, general) if text is not None]
    ordinary = ordinary_set(run, found.toxic, [], base)
    _report_reading(run, [*([own] if own is not None else []), ordinary], tokenizer)
    kept_table, measured, plain = _kept_tables(run, base, kept, ordinary)
    parts = storage.read_json(kept_table.folder / "parts.json")
    return Sets(
        found.toxic,
        found.clean,
        ordinary,
        kept_table,
        Material(terms=TargetTerms(()), forget=forget_table, retain=measured, ordinary=plain),
        _apart(run, general, tokenizer),
        sum(parts) if own is not None else parts[0],
        [*found.found.notes, *toxicity_notes(language)],
        groups=storage.read_json(forget_table.folder / GROUPS),
        read=found.found,
        beginnings=found.beginnings,
        language=language,
    )


def _kept_tables(
    run: Run[Recipe], base: LazyModel, kept: Sequence[TextSet], ordinary: TextSet
) -> tuple[TokenTable, TokenTable, TokenTable]:
    """(all of `kept`, for training; and for measuring the first of `kept`, and ordinary text)."""
    limit, settings = run.recipe.data.max_retain_blocks, run.recipe.evaluation
    return (
        token_table(run, kept, base, limit),
        token_table(run, kept[:1], base, limit),
        token_table(run, [ordinary], base, settings.max_blocks, settings.ordinary_block_size),
    )


def _apart(run: Run[Recipe], general: TextSet | None, tokenizer: Any) -> tuple[TextSet, list[int]] | None:
    if general is None:
        return None
    cut = islice(blocks(general, run.recipe, tokenizer), run.recipe.data.max_retain_blocks)
    return general, [len(block.ids) for block in cut]
