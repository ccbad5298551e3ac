"""Formulas become mathematics that a browser sets, and nothing else."""

from __future__ import annotations

import re

import pytest

from expunge.report.mathml import ATTRIBUTES, ELEMENTS, set_formulas
from expunge.runs.registry import built_in, method_class


@pytest.mark.parametrize("name", built_in())
def test_every_formula_is_set_without_a_command_left_over(name: str) -> None:
    formulas = method_class(name).formulas()
    html = set_formulas(formulas)
    assert html.count("<math") == formulas.count("\n\n") + 1
    assert "<pre>" not in html
    assert "\\" not in html


EVIL = (
    r"L \text{<script>alert(1)</script>}",
    r"\text{<meta/http-equiv='refresh'/content='0;url=https://evil.example/'>}",
    r"\text{<!--}",
    r"\mbox{</math><img src=x onerror=alert(1)>}",
    r"\href{javascript:alert(1)}{L}",
    r"\href1{javascript:alert(1)}",
    r"L = \style{color:red}{x} <b>",
    r"\class1{evil}",
    "<script>alert(1)</script>",
    r"\frac{1}{",
    "L \x1b[31m \ud800 \u202e",
)


@pytest.mark.parametrize("typed", EVIL)
def test_nothing_but_mathematics_comes_of_a_formula(typed: str) -> None:
    page = str(set_formulas(typed))
    page.encode()  # no halves of characters
    tags = re.findall(r"<(/?[a-zA-Z!][^\s>/]*)([^>]*)>", page)
    assert all(ELEMENTS.fullmatch(tag.lstrip("/")) or tag.lstrip("/") == "pre" for tag, _ in tags)
    for _, attributes in tags:
        assert all(ATTRIBUTES.fullmatch(name) for name in re.findall(r"([\w:-]+)=", attributes))
    assert "<!--" not in page
    assert not re.search("[\x1b\u202e]", page)


def test_what_is_no_formula_is_shown_as_it_is_typed() -> None:
    assert set_formulas(r"\frac{1}{") == r"<pre>\frac{1}{</pre>"
    assert set_formulas("") == ""
    assert "<mi>y</mi>" in set_formulas(r"\argmax_y p")
