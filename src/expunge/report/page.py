"""Jinja for untrusted texts: escaped in pages, with unprintable characters made visible."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from expunge.core.safe_text import clean
from expunge.core.words import counted
from expunge.report import numbers, wording

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """Fill `templates/<template>`; a missing name is an error, never empty.

    Everything in HTML is escaped. In Markdown use the filter `md`.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """One environment for all pages, so that a template is compiled once."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.jinja"),
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    environment.globals.update(style=style, numbers=numbers, wording=wording, counted=counted)
    environment.filters["md"] = markdown
    return environment


def markdown(text: Any) -> str:
    """Text on one line with everything escaped that Markdown or HTML would act on."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)
