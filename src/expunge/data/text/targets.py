"""What a TARGET is: a path, a Hugging Face dataset, or a topic in words; and which files a folder offers."""

from __future__ import annotations

import os
import re
import stat
from difflib import SequenceMatcher
from pathlib import Path
from typing import Literal

from expunge.data.text.columns import Columns
from expunge.data.text.documents.reading import reason_unread
from expunge.data.text.documents.sheets import reason_no_sheets
from expunge.data.text.file_kinds import CODE, COLUMNAR, DOCUMENTS, KNOWN, ending, refused_by_name
from expunge.data.text.row_files import reason_no_rows
from expunge.data.text.text_files import head_of, kind_of_file, refuse_binary, refuse_listing
from expunge.errors import DataError, nearest

TargetKind = Literal["path", "dataset", "topic"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".npz", ".gif", ".tif", ".tiff")
_NAMES_TOO = (
    *(".pt", ".cc", ".js", ".ts", ".go", ".rs", ".c", ".h", ".r", ".cs", ".pl", ".ml", ".ex", ".f90", ".pages", ".bin"),
    *(".org", ".sh"),
)
"endings that names of things have as well (Node.js, archive.org): alone they make no file name"
FILE_SUFFIXES = tuple(known for known in (*KNOWN, ".log", ".dat", ".cfg", ".ini", ".toml") if known not in _NAMES_TOO)
"endings that make words a file name"
DATASET = "an existing path, or a Hugging Face dataset id (owner/name)"
"what a set may be"
TOPIC = (
    "an existing path, a Hugging Face dataset id (owner/name), or a topic in words (with --topic, where they "
    "look like a path)"
)
"what a target may be"
CLOSE = 0.86
"likeness of two names from which on one may be meant for the other"

DATASET_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
"`owner/name` or `owner/name:part`"
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

Skipped = tuple[Path, str]
"an entry of a folder that is not read, and why"


def looks_like_path(target: str) -> bool:
    """Whether the words can only be meant as a path: its place in a folder, or an ending such as `.txt`, says so."""
    if target.startswith(("./", "../", "~", "/")) or target.endswith("/"):
        return True
    if "\\" in target or re.match(r"[A-Za-z]:[/\\]", target):
        return True
    if " " not in target and (target.startswith(".") or target.count("/") > 1):
        return True
    if target.lower().endswith(FILE_SUFFIXES):
        return True
    return "/" in target and os.path.isdir(target.partition("/")[0])


def classify_target(target: str, may_be_topic: bool = True) -> TargetKind:
    """What the target is.

    - An existing file or folder is a `path`.
    - What looks like a path and does not exist is an error that names the nearest existing name.
    - `owner/name` (or `owner/name:configuration`) without spaces is a Hugging Face `dataset`.
    - Words that are close to the name of a file or folder here are an error that names both ways.
    - Anything else is a `topic` in words.

    Args:
        may_be_topic: whether the user may mean a topic, as of the target to forget; of text to keep or to measure on none
            is allowed, and words close to a name are no error here.

    Raises:
        DataError: an empty target, a missing path, a link that leads nowhere, words close to a name that is there.
    """
    if not target.strip():
        raise DataError(
            "the target is empty", seen=repr(target), allowed="a path, a Hugging Face dataset id, or a topic in words"
        )
    place = os.path.expanduser(target)
    if os.path.exists(place):
        return "path"
    if os.path.lexists(place):
        raise DataError(f"{target} is a link that leads nowhere", seen=os.readlink(place), next_step="repair the link")
    if looks_like_path(target):
        raise missing_target(target, TOPIC if may_be_topic else DATASET)
    if DATASET_ID.fullmatch(target):
        return "dataset"
    if may_be_topic and (near := near_path(target)) is not None:
        raise DataError(
            f"{target!r} may be a topic, or meant for {near}",
            seen=f"no file or folder of that name; {near} is there",
            next_step=f"give {near} to have that forgotten, or {target!r} with --topic (forget_kind: topic in a "
            "recipe) to ask the model about the topic",
        )
    return "topic"


def near_path(words: str) -> str | None:
    """The file or folder in the current folder whose name is close to these words; None if none is.

    Upper case, endings and the marks between words do not count: `Harry Potter` is close to `harry_potter.txt`.
    """
    plain = _plain(words)
    if len(plain) < 3:
        return None
    try:
        names = sorted(name for name in os.listdir() if not name.startswith(".") and not _is_run(name))
    except OSError:
        return None
    likeness = {}
    for name in names:
        forms = {_plain(name), _plain(name.partition(".")[0])} - {""}
        likeness[name] = max((SequenceMatcher(None, plain, form).ratio() for form in forms), default=0.0)
    best = max(names, key=lambda name: likeness[name], default=None)
    if best is None or likeness[best] < CLOSE:
        return None
    return best + "/" if os.path.isdir(best) else best


def _is_run(name: str) -> bool:
    """Whether a folder is one that a run writes: nobody means that by a target."""
    return any(os.path.lexists(os.path.join(name, made)) for made in (".lock", "stages", "recipe.yaml"))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def nothing_to_read(target: str) -> DataError:
    """What is said of words where text is needed; a name close to them is proposed."""
    near = near_path(target)
    return DataError(
        f"there is nothing to read at {target!r}",
        allowed="a file, a folder, or a Hugging Face dataset id (owner/name)",
        next_step=(f"did you mean {near}? " if near else "check the path; ")
        + "only the target to forget may be a topic in words",
    )


def missing_target(target: str, allowed: str = TOPIC) -> DataError:
    """The error for a missing path, with the nearest name that exists."""
    path = Path(os.path.expanduser(target))
    child, parent = path, path.parent
    while not parent.is_dir() and parent != parent.parent:
        child, parent = parent, parent.parent
    try:
        names = sorted(entry.name for entry in parent.iterdir())
    except OSError:
        names = []
    near = nearest(child.name, names)
    if near is not None:
        step = f"did you mean {parent / near}?"
    else:
        step = f"{parent} holds: {', '.join(names[:8])}" if names else f"{parent} is empty or cannot be listed"
    return DataError(
        f"there is no file or folder {target}",
        seen=f"{child.name!r} is missing in {parent}" if child != path else None,
        allowed=allowed,
        next_step=step,
    )


def list_files(folder: Path, columns: Columns | None = None) -> tuple[list[Path], list[Skipped]]:
    """The files below a folder that can be read as text or rows, sorted, and the entries left out with the reason.

    Hidden entries, links (whether they lead outside or to what is read anyway), devices, empty and binary files are
    left out: what a folder seems to hold is what is read. So are files that only describe a dataset, such as its README
    and licence, unless there is nothing else.

    Raises:
        DataError: a folder or file that may not be read, or a folder in which nothing can be read.
    """
    root = folder.resolve()
    files: list[Path] = []
    skipped: list[Skipped] = []

    for parent, folders, names in os.walk(folder, onerror=refuse_listing):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders) - set(hidden))
        for path in [Path(parent, name) for name in {*names, *links, *hidden}]:
            reason = _reason_to_skip(path, root, columns or Columns())
            if reason is None:
                files.append(path)
            else:
                skipped.append((path, reason))
    code = {path for path in files if ending(path.name) in CODE}
    if 2 * len(code) < len(files):
        # Of a folder of code all is read; scripts that lie among texts are none of them.
        files = [path for path in files if path not in code]
        skipped += [(path, "source code among other text; named by itself it is read") for path in code]
    files.sort(key=lambda path: path.relative_to(folder).parts)
    skipped.sort()
    cards = [path for path in files if _describes_data(path)]
    if len(cards) < len(files):
        files = [path for path in files if path not in set(cards)]
        skipped += [(path, "says what the data is; named by itself it is read") for path in cards]
    if not files:
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in skipped[:5])
        pictures = sum(path.suffix.lower() in PICTURES for path, _ in skipped)
        raise DataError(
            f"the folder {folder} has no text that can be read",
            seen=reasons or "an empty folder",
            allowed="text files (.txt, .md, ...), .pdf, .docx, .epub, .jsonl, .csv, .html and others (docs/inputs.md)",
            next_step="name a folder with text in it, or a single file"
            if 2 * pictures <= len(skipped) or not pictures
            else f"for pictures there are recipes: expunge run faces --data {folder}, or age_predictor",
        )
    return files, skipped


def _reason_to_skip(path: Path, root: Path, columns: Columns) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if path.is_symlink():
        inside = path.resolve().is_relative_to(root)
        return "a link to what is read under its own name" if inside else "a link that leads out of the folder"
    if not stat.S_ISREG(path.stat().st_mode):
        return "no regular file"
    return _reason_not_text(path, columns)


def _reason_not_text(path: Path, columns: Columns) -> str | None:
    """Why a file should be passed over (empty, binary, of a kind that is not read, rows without text); else None."""
    if not path.stat().st_size:
        return "empty"
    if (known := ending(path.name)) in COLUMNAR:
        return None
    if known in DOCUMENTS:
        return (
            reason_no_sheets(path, columns) if DOCUMENTS[known] == "sheets" else reason_unread(DOCUMENTS[known], path)
        )
    head = head_of(path)
    if not head:
        return "empty"
    if (refused := refused_by_name(path.name)) is not None:
        return refused.reason
    try:
        refuse_binary(path, head)
    except DataError as error:
        return f"binary ({error.seen})"
    kind = kind_of_file(path, head)
    return kind.reason if kind.form is None else reason_no_rows(path, kind, columns)


def _describes_data(path: Path) -> bool:
    """Whether a file's name is that of a README, a licence, a citation, or of a description of a dataset.

    `state.json` is one where `dataset_info.json` is in its folder, as `save_to_disk` of the library datasets writes them.
    """
    name = path.name
    if name.lower() == "state.json":
        return (path.parent / "dataset_info.json").is_file()
    return bool(_CARD.fullmatch(name) or _DESCRIPTION.fullmatch(name))
