"""What `mkdocs.yml` needs beyond mkdocs: the pages outside of docs/, links between them, and formulas as MathML.

On the disk a page links to files of the repository; on the site those are pages of the site, or files beside them. A link to
a file that is not there is left as it is, and a strict build stops at it.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
HOME = {"README.md": "index.md"}
"pages that have another name on the site, by their path in the repository"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
MATH = re.compile(r'<(div|span) class="arithmatex">(.*?)</\1>', re.DOTALL)
CODE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add README, contributing, changes and the pages of benchmarks, and every file that a page links to."""
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("benchmarks/*/README.md"),
    ):
        _add(files, config, path)
    for page in [file for file in files if file.is_documentation_page()]:
        source = Path(str(page.abs_src_path))
        for _, target, _ in LINK.findall(source.read_text(encoding="utf-8")):
            path = _linked(source, target)
            if path is not None and path.is_file():
                _add(files, config, path)
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between files of the site."""
    source = Path(str(page.file.abs_src_path))

    def on_site(found: re.Match[str]) -> str:
        path, heading = _linked(source, found[2]), found[2].partition("#")[2]
        if path is None:
            return found[0]
        there = posixpath.relpath(_place(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{there}{'#' + heading if heading else ''}{found[3]}"

    parts = CODE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(on_site, part) for number, part in enumerate(parts))


def on_page_content(content: str, page: Page, config: Any, files: Files) -> str:
    """Set formulas as MathML, which browsers show without a script."""

    def typeset(found: re.Match[str]) -> str:
        formula = html.unescape(found[2]).strip()
        for start, end in ((r"\(", r"\)"), (r"\[", r"\]")):
            if formula.startswith(start) and formula.endswith(end):
                formula = formula[2:-2]
        return str(convert(formula.strip(), display="block" if found[1] == "div" else "inline"))

    return MATH.sub(typeset, content)


def _linked(source: Path, target: str) -> Path | None:
    """The file of the repository that a link leads to, as its page stands on the disk; None for another kind of link."""
    name = target.partition("#")[0]
    if not name or re.match(r"[a-z]+:", target):
        return None
    path = (source.parent / name).resolve()
    if path.is_dir() and (path / "README.md").is_file():
        path = path / "README.md"
    return path if path.exists() and path.is_relative_to(ROOT) else None


def _place(path: Path) -> str:
    """Where a file of the repository stands on the site."""
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    name = path.relative_to(ROOT).as_posix()
    return HOME.get(name, name)


def _add(files: Files, config: Any, path: Path) -> None:
    place = _place(path)
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, abs_src_path=str(path)))
