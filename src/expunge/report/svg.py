"""Matplotlib figures as SVG for one HTML page: text kept as text, colours of the page, the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from expunge.core.safe_text import clean

INK, MUTED, GRID, PAPER = "#1b1d21", "#5f646d", "#dadde2", "#fefefe"
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"
"Okabe and Ito's colours, distinct with every kind of colour vision"

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper", BLUE: "--after"}
"colours that follow the page, so that a dark screen and white paper are both right"

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "expunge",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a token is a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
}

NAMESPACE = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
_RUN = re.compile(r"(run\d+)(:.*)?", re.DOTALL)
"ids of the marks of a run"


def draw(name: str, title: str, description: str, paint: Callable[[], Figure]) -> Markup:
    """Run `paint` in the report's style and return its figure as inline SVG.

    `name` makes the ids of the figure unique on the page; `title` and `description` are for screen readers.
    """
    return _inline(clean(as_svg(paint)), name, title, description)


def as_svg(paint: Callable[[], Figure]) -> str:
    """Run `paint` in the report's style; its figure as SVG. Settings of the process are restored."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's own fonts draw the text
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        file = io.StringIO()
        FigureCanvasSVG(paint()).print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _inline(source: str, name: str, title: str, description: str) -> Markup:
    root = ElementTree.fromstring(source)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("metadata") or child.tag == f"{NAMESPACE}style":
                parent.remove(child)
    reached = [linked(element) for element in root.iter()]
    for element in root.iter():
        element.tag = element.tag.removeprefix(NAMESPACE)
        element.attrib = {
            key.removeprefix(XLINK): _attribute(key.removeprefix(XLINK), value, name)
            for key, value in element.attrib.items()
        }
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "figure",
        "role": "group" if any(reached) else "img",
        "aria-labelledby": f"{name}-title {name}-description",
    }
    for place, (tag, text) in enumerate([("title", title), ("desc", description)]):
        element = ElementTree.Element(tag, id=f"{name}-{'title' if tag == 'title' else 'description'}")
        element.text = clean(text)
        element.tail = "\n"
        root.insert(place, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def linked(element: ElementTree.Element) -> bool:
    """Turn a mark's id (`run3`, or `run3:its name`) into classes with which the page's style finds all marks of
    that run; marks with a name are focusable by keyboard."""
    found = _RUN.fullmatch(element.attrib.get("id", ""))
    if found is None:
        return False
    del element.attrib["id"]  # several marks have the same
    element.attrib["class"] = f"run {found[1]}"
    if found[2] is None:
        return False
    element.attrib |= {"tabindex": "0", "role": "img", "aria-label": found[2][1:]}
    return True


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "style":
        value = re.sub(r"font: ([^;]*px) [^;]*", r"font: \1 sans-serif", value)
        value = re.sub(r"font-family: [^;]*", "font-family: sans-serif", value)
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, f"var({variable}, {colour})")
    return re.sub(r"url\(#", f"url(#{name}-", value)
