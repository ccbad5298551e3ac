"""Formulas rendered by the browser without a script: LaTeX as MathML, restricted to mathematics."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from markupsafe import Markup, escape

from expunge.core.safe_text import clean

ELEMENTS = re.compile(
    "math|m(row|i|n|o|s|text|space|frac|sqrt|root|sub|sup|subsup|under|over|underover|table|tr|td|style|padded|phantom|"
    "enclose|fenced|multiscripts|prescripts)"
)
ATTRIBUTES = re.compile(
    "display|displaystyle|scriptlevel|mathvariant|stretchy|fence|form|separator|largeop|movablelimits|symmetric|lspace|"
    "rspace|width|height|depth|minsize|maxsize|linethickness|columnalign|rowspacing|columnspacing|open|close"
)
"MathML elements allowed in a page"


def set_formulas(latex: str) -> Markup:
    """Formulas, a paragraph each, as MathML that needs no script; as LaTeX source if conversion fails."""
    return Markup("\n").join(_set(clean(paragraph)) for paragraph in latex.split("\n\n") if paragraph.strip())


def _set(latex: str) -> Markup:
    try:
        made = convert_to_element(re.sub(r"\\arg(?![A-Za-z])", r"\\mathrm{arg}\\,", latex), display="block")
    except Exception:  # of any kind: the formula may come from any package's method
        return Markup("<pre>{}</pre>").format(escape(latex))
    for element in made.iter():
        # The library does not escape text, and its attributes may contain more than mathematics.
        element.text = html.unescape(element.text or "")
        element.attrib = {name: value for name, value in element.attrib.items() if ATTRIBUTES.fullmatch(name)}
        if not ELEMENTS.fullmatch(element.tag):
            return Markup("<pre>{}</pre>").format(escape(latex))
    return Markup(ElementTree.tostring(made, encoding="unicode", short_empty_elements=False))
