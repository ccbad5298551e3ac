"""Which pictures a request to forget means."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from expunge.core.order import random_seed
from expunge.data.images.forget_list import ENDINGS, listed
from expunge.data.images.image_set import ImageSet
from expunge.data.images.listing import some
from expunge.data.images.query import matching
from expunge.data.images.table import missing_column, typed
from expunge.errors import DataError, nearest


def select(images: ImageSet, forget: str, *, seed: int = 0, among: np.ndarray | None = None) -> np.ndarray:
    """The rows that `forget` means, sorted.

    `forget` is a query on columns ("age <= 12"), a .csv or .txt file of ids or people, class:NAME,
    identity:COLUMN:COUNT, random:SHARE or random:COUNT.
    In a query, `id` is the picture's id and `label` the name of its class, unless the data has columns of that name.

    Args:
        seed: for `identity` and `random`.
        among: only these rows may be selected; identities and random rows are drawn from them. Default: all.

    Raises:
        DataError: a form, column, class, id or file that there is not, or a selection of nothing or everything.
    """
    allowed = np.arange(len(images)) if among is None else np.sort(np.asarray(among, np.int64))
    kind, _, rest = forget.strip().partition(":")
    used: tuple[str, ...] = ()
    if kind == "random" and rest:
        rows = _random(rest, allowed, seed)
    elif kind == "identity" and rest:
        rows = _identities(rest, images, allowed, seed)
    else:
        if kind == "class" and rest:
            mask = images.labels == _class(rest, images)
        elif forget.strip().lower().endswith(ENDINGS):
            mask = listed(Path(os.path.expanduser(forget.strip())), images)
        else:
            mask, used = matching(forget, askable(images), images.source)
        rows = allowed[mask[allowed]]
    _refuse_extremes(rows, allowed, images, forget, used)
    return rows


def means_a_group(forget: str) -> bool:
    """Whether a request is a query or a class: what is like the pictures that it means, it means as well."""
    text = forget.strip()
    return not text.startswith(("random:", "identity:")) and not text.lower().endswith(ENDINGS)


def askable(images: ImageSet) -> dict[str, np.ndarray]:
    """The columns a query may name."""
    names = typed(images.classes)
    labels = (names if names is not None else np.array(images.classes))[images.labels]
    return {"id": np.array(images.ids), **({"label": labels} if images.labelled else {}), **images.columns}


def _class(name: str, images: ImageSet) -> int:
    if not images.labelled or name not in images.classes:
        near = nearest(name, images.classes)
        raise DataError(
            f"{images.source} has no class {name!r}",
            allowed=some(images.classes) if images.labelled else "none: the pictures have no labels",
            next_step=f"did you mean class:{near}?" if near else "name one of the classes",
        )
    return images.classes.index(name)


def _identities(rest: str, images: ImageSet, allowed: np.ndarray, seed: int) -> np.ndarray:
    name, _, number = rest.rpartition(":")
    if not name or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise DataError(
            f"identity:{rest} is not understood", allowed="identity:COLUMN:COUNT", next_step="write identity:person:15"
        )
    if name not in images.columns:
        raise missing_column(name, list(images.columns), images.source)
    column = images.columns[name][allowed]
    people = np.unique(column[~np.isnan(column)] if column.dtype.kind == "f" else column)
    if int(number) >= len(people):
        raise DataError(
            f"identity:{rest} asks for everyone",
            seen=f"{len(people)} values of {name} to choose from",
            allowed=f"1 to {len(people) - 1}",
        )
    drawn = np.random.default_rng(random_seed(seed, "identity", name)).choice(people, int(number), replace=False)
    return allowed[np.isin(column, drawn)]


def _random(amount: str, allowed: np.ndarray, seed: int) -> np.ndarray:
    try:
        count = int(amount) if amount.isdigit() else round(float(amount) * len(allowed))
    except (ValueError, OverflowError):
        count = 0
    if not 0 < count < len(allowed):
        raise DataError(
            f"random:{amount} selects no part of {len(allowed)} pictures",
            allowed=f"a share between 0 and 1 with a point, or a number from 1 to {len(allowed) - 1}",
            next_step="write random:0.02 or random:24",
        )
    return np.sort(np.random.default_rng(random_seed(seed, "forget")).choice(allowed, count, replace=False))


def _refuse_extremes(
    rows: np.ndarray, allowed: np.ndarray, images: ImageSet, forget: str, used: tuple[str, ...]
) -> None:
    if 0 < len(rows) < len(allowed):
        return
    where = images.source if len(allowed) == len(images) else f"the training part of {images.source}"
    ranges = [_range(name, askable(images)[name][allowed]) for name in used] if len(allowed) else []
    if len(rows) == 0:
        raise DataError(
            f"{forget!r} selects none of the {len(allowed)} pictures of {where}",
            seen="; ".join(ranges) or None,
            next_step="widen the query, or check that it belongs to this data",
        )
    raise DataError(
        f"{forget!r} selects all {len(allowed)} pictures of {where}: nothing would be left to keep",
        seen="; ".join(ranges) or None,
        next_step="narrow the query; to forget everything, delete the model",
    )


def _range(name: str, column: np.ndarray) -> str:
    if column.dtype.kind == "U":
        return f"{name} is one of {some([repr(str(value)) for value in np.unique(column)])}"
    if np.isnan(column).all():
        return f"{name} is unknown for all"
    return f"{name} goes from {np.nanmin(column):g} to {np.nanmax(column):g}"
