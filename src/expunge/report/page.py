"""Jinja for pages that hold other people's text: everything is escaped, and what cannot be printed is made visible."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from expunge.report import numbers, wording

TEMPLATES = Path(__file__).parent / "templates"

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"control characters, marks that reverse the order of letters, and halves of characters: not fit for a page"


def clean(value: Any) -> Any:
    """Replace by � what UNPRINTABLE matches, in any text that a template prints."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return UNPRINTABLE.sub("�", value.replace("\r\n", "\n"))
    return value


def render_page(template: str, **values: Any) -> str:
    """Fill `templates/<template>`; a name the template misses is an error, never an empty place."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    environment.globals.update(style=style, numbers=numbers, wording=wording)
    return environment.get_template(template).render(**values)
