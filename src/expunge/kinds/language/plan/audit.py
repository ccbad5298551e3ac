"""Plan the audit of a run, attack by attack: the work that `expunge audit --budget` counts, on a device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.data.text.document import Document
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_several
from expunge.errors import ExpungeError
from expunge.kinds.language.attacks.attack import Side, attacks, tokens
from expunge.kinds.language.attacks.facts import ASKED, GIVEN, Fact, Facts, Row, read_facts
from expunge.kinds.language.audit import NEW, ROWS
from expunge.kinds.language.plan.model import PlannedModel
from expunge.kinds.language.plan.stages import GENERATED, Stage, Work
from expunge.models.tokenizers import read_tokenizer
from expunge.runs import work as audit_work
from expunge.runs.attacking import AnyAttack
from expunge.runs.audit import SHOWN
from expunge.runs.work import Piece, total

STEP, CHANGE = 12, 20
"operations for each weight of a step of AdamW, and of a rounding"


class _NoWeightsError(Exception):
    """An attack needs a model, and a plan has only its configuration."""


def audit_stages(model: PlannedModel, work: Work) -> list[Stage]:
    """A stage for an audit's measures without attacks, and one for each attack that its recipe can run.

    Empty without a tokenizer, or if the forget set has no text to ask for.
    """
    recipe = work.recipe
    if recipe.forget_kind == "toxicity":
        return []
    try:
        tokenizer = read_tokenizer(model.folder, model.name)
    except ExpungeError:
        return []
    facts, how = _facts(work, tokenizer)
    side = _side(model, work, facts, tokenizer)
    retrained = recipe.retrained is not None
    own, models = float(tokens(side.asked())), 3 if retrained else 4
    around = audit_work.Work(
        read=models * own + 2.0 * (tokens(side.retain) + tokens(side.ordinary)),
        written=(3 if retrained else 2) * min(SHOWN, len(facts.every)) * NEW,
        loaded=2,  # base and subject are both loaded when damage is measured
    )
    found = [_stage(work, "what is known, and damage", [Piece(words="", work=around)], how)]
    for attack in attacks():
        if _missing(attack, side) is None:
            sides = 2 if not attack.own_scale else 3 if retrained else 4
            pieces = attack.pieces(side)
            every = [Piece(words=each.words, work=each.work * sides) for each in pieces]
            every.append(Piece(words="", work=attack.noting(side)))
            found.append(_stage(work, attack.name, every, f"{len(pieces)} settings" if len(pieces) > 1 else "", pieces))
    return found


def _missing(attack: AnyAttack[Side], side: Side) -> str | None:
    try:
        return attack.missing(side)
    except _NoWeightsError:
        return None


def _stage(work: Work, name: str, pieces: list[Piece], how: str, once: list[Piece] | None = None) -> Stage:
    """A stage; `once`: the pieces on one side, which determine memory."""
    every, weights = total(pieces), work.look.numbers["weights"]
    flops = work.flops_a_token * (every.read + 3 * every.trained + every.written)
    flops += weights * (STEP * every.steps + CHANGE * every.changed)
    return Stage(
        name=name,
        peak=max(_peak(work, piece.work) for piece in once or pieces),
        tokens=round(every.read + every.trained + every.written),
        flops=round(flops),
        read=round(every.written / GENERATED) * work.held,
        how=how,
    )


def _peak(work: Work, piece: audit_work.Work) -> int:
    """Bytes: weights, gradients and two moments in float32 if all are trained; a copy in addition to the weights if
    they are changed; two models if two are loaded."""
    states = max(0, work.look.peak - work.held)
    if piece.steps:
        return 4 * work.wide + 3 * states
    if piece.trained:
        return work.wide + 3 * states
    if piece.changed:
        return 2 * work.wide + states
    return work.look.peak + (work.held if piece.loaded > 1 else 0)


def _facts(work: Work, tokenizer: Any) -> tuple[Facts, str]:
    """(the facts to ask for, how they were found): read if they are files, else the same number of passages."""
    recipe = work.recipe
    wanted, size = recipe.audit.facts, recipe.data.block_size

    def documents() -> Iterator[Document]:
        return read_several(recipe.targets, Notes(recipe.data.read_by("forget")))

    if recipe.forget_kind != "topic" and all(Path(each).exists() for each in recipe.targets):
        try:
            found = read_facts(documents, tokenizer, wanted, size, "forget set", recipe.audit.rows_together)
        except ExpungeError:
            pass  # too few to be audited: assume the wanted number
        else:
            return found, f"{len(found.every)} facts, counted"
    row = Row(tuple(range(GIVEN + ASKED)), GIVEN)
    return Facts((Fact(row, row, None, "", "", ""),) * wanted), f"{wanted} facts of {len(row.ids)} tokens are assumed"


def _side(model: PlannedModel, work: Work, facts: Facts, tokenizer: Any) -> Side:
    def none() -> Any:
        raise _NoWeightsError

    text = model.kind.config.get_text_config(decoder=True)
    rows = [Row(tuple(range(GIVEN + ASKED)), 1)] * ROWS
    return Side(
        look=none,
        fresh=none,
        base=none,
        config=lambda: text,
        base_config=lambda: text,
        tokenizer=tokenizer,
        facts=facts,
        retain=rows,
        ordinary=rows,
        holdout=None,
        settings=work.recipe.audit,
        retrained=work.recipe.retrained is not None,
    )
