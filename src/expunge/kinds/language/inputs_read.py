"""The files that the sets of a run on a language model were read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expunge.data.text.files_read import files_read, listed

if TYPE_CHECKING:
    from expunge.kinds.language.inputs import Sets
    from expunge.kinds.language.sets import TextSet


def inputs_read(sets: Sets) -> list[dict[str, Any]]:
    """Of every set that was given, which files were read and which were not (see `files_read.listed`).

    What the model itself wrote is no input. Of toxic and clean statements the tables are listed once.
    """
    found: list[dict[str, Any]] = []
    if sets.read is not None:
        found += [
            listed("toxic and clean statements", each.source, each.folder, each.read, each.unread)
            for each in sets.read.sources
        ]
    texts: list[TextSet] = [sets.forget, sets.retain, sets.ordinary]
    if sets.general is not None:
        texts.append(sets.general[0])
    seen: set[str] = set()
    for text in texts:
        if text.generated or text.origin is not None or text.name in seen:
            continue
        seen.add(text.name)
        entry = files_read(text.name, text.target)
        if entry is not None:
            found.append(entry)
    return found
