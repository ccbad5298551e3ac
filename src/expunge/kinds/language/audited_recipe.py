"""The recipe for auditing a model that was not made by a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.kinds.language.recipe import Recipe, make_recipe

SETS = ("base", "forget", "retain")


def audited_recipe(given: Mapping[str, Any]) -> Recipe:
    """A recipe of base model and sets.

    Args:
        given: `base`, `forget` and `retain`; `ordinary`, text that perplexity is measured on (default: the retain set);
            and fields of the recipe's part `audit`, dotted.
    """
    base, forget, retain = (str(given[name]) for name in SETS)
    ordinary = str(given.get("ordinary", retain))
    return make_recipe(
        {
            "model": base,
            "forget": forget,
            "retain": retain,
            "data": {"retain_answers": 0},
            "evaluation": {"ordinary_text": ordinary, "familiarity": False},
        },
        {name: value for name, value in given.items() if name not in (*SETS, "ordinary")},
        "audit",
    )
