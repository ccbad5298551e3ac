"""Files that say what a dataset is, and are none of its text: what a clone of one brings with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

REASON = "says what the data is; named by itself it is read"

_CARDS = (
    "readme|licen[cs]e|unlicense|copying|notice|citation|changelog|contributing|code_of_conduct|dataset_?card|datasheet"
)
_MORE = (
    "md|markdown|txt|rst|html?|cff|bib|en|de|fr|es|zh|cn|ja|apache|mit|bsd|gpl|odc|cc|by|sa|nc|nd|code|data|dataset|first|"
    "v?[0-9]+"
)
_CARD = re.compile(rf"({_CARDS})([._-]({_MORE}))*", re.IGNORECASE)
_DESCRIPTION = re.compile(
    r"dataset_infos?\.json|dataset_dict\.json|(.*[._-])?croissant([._-].*)?\.json(ld)?|"
    r"(datapackage|dataset-metadata)\.json|dataset_card\.(md|ya?ml)",
    re.IGNORECASE,
)


def describes_data(path: Path) -> bool:
    """Whether a file's name is that of a README, a licence, a citation, or of a description of a dataset.

    `state.json` is one where `dataset_info.json` is in its folder, as `save_to_disk` of the library datasets writes them.
    """
    name = path.name
    if name.lower() == "state.json":
        return (path.parent / "dataset_info.json").is_file()
    return bool(_CARD.fullmatch(name) or _DESCRIPTION.fullmatch(name))


def apart(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(files that are text of a dataset, files that describe it); where there is nothing else, descriptions are text."""
    cards = [path for path in files if describes_data(path)]
    if len(cards) == len(files):
        return list(files), []
    return [path for path in files if path not in set(cards)], cards
