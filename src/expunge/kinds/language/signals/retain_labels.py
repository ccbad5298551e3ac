"""Labels of the retain set that keep the model as it was: what the base model says there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.kinds.language.signals.reference_labels import reference_labels
from expunge.kinds.language.signals.signal import Labels, Source
from expunge.kinds.language.token_dataset import TokenTable


@dataclass(frozen=True)
class RetainLabels(Labels):
    """The retain set, labelled as the method's `retain_target` says.

    The user's text is labelled with itself ("text") or with what the base model says there ("base"), or one half so and
    the other so ("both"). Text that was sampled from the base model stands for all that it would have said: it always has
    the base's distribution. A base that knows its target by heart expects it in other texts, too: "cleared" leaves the
    target's own terms out of what it says. Only blocks that training draws are labelled.
    """

    target: str = "text"

    name = "retain_labels"
    set = "retain"

    def labelled(self, source: Source) -> TokenTable:
        run, base, sets, table = source.run, source.base, source.sets, source.table
        text_rows = int(sets.own_rows * {"text": 1.0, "both": 0.5}.get(self.target, 0.0))
        if text_rows == len(table):
            return table
        cleared = whole_tokens(sets.material.terms.unique, base.tokenizer) if self.target == "cleared" else []

        def make(path: Path) -> None:
            reference_labels(base(), table, source.rows, path, run.recipe.seed, run.show.update, text_rows, cleared)

        key: dict[str, Any] = source.key() | {
            "kept": table.folder.name,
            "rows": storage.digest_value(list(source.rows)),
            "text_rows": text_rows,
            "seed": run.recipe.seed,
        }
        if cleared:
            key["cleared"] = cleared
        path = run.cached("reference", key, make, "computing the base model's predictions on the retain set")
        return table.relabelled(TokenTable(path), source.rows)


def whole_tokens(terms: Sequence[str], tokenizer: Any) -> list[int]:
    """Tokens that are a whole word of a term, with or without a space before it."""
    written = {space + word for term in terms for word in term.split() for space in ("", " ")}
    found = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sorted(written))
    return sorted({ids[0] for ids in found if len(ids) == 1})
