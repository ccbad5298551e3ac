"""Render chats, and read a model's answer: always without thinking before the answer.

A reasoning model's thoughts are not its answer: a text elicited, trained or measured through them would be
another one. So its template is asked to leave thinking out if it can; if it starts thinking by itself, that is closed
at once; if it names a channel for the answer, that is opened; and any remaining thoughts are cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from expunge.data.text.thinking import CHANNEL, MARKS, without_thinking
from expunge.errors import ModelError

OFF: Mapping[str, Any] = {
    "enable_thinking": False,
    "thinking": False,
    "enable_reasoning": False,
    "reasoning": False,
    "think": False,
    "thinking_budget": 0,
}
"variables of chat templates that switch thinking off"
EFFORT = "reasoning_effort"
"a variable of chat templates for the amount of thinking: `none` if the template knows it, else `low`"
QUESTION, ANSWER = "A question?", "An answer."
"a conversation to test templates with"


@dataclass(frozen=True, slots=True)
class Form:
    """How a tokenizer's chat template is used."""

    variables: tuple[tuple[str, Any], ...] = ()
    "its arguments in addition to the messages"
    opening: str = ""
    "text added after the rendered prompt, so that an answer follows and no thinking"
    note: str | None = None
    "note for the reader; None for a template without thinking"


def form_of(tokenizer: Any) -> Form:
    """How chats are rendered with this tokenizer, without thinking.

    Raises:
        ModelError: the template fails on a plain question.
    """
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default") or next(iter(template.values()), None)
    try:
        return _form(tokenizer, template) if template else Form()
    except Exception as error:
        raise _template_error(error) from error


def _template_error(error: Exception) -> ModelError:
    """The error for a chat template that fails. A template is a program and may raise anything."""
    return ModelError(
        "the tokenizer's chat template fails on a plain question",
        seen=f"{type(error).__name__}: {error}",
        next_step="repair chat_template in the model's folder, or remove it to be asked as Question/Answer",
    )


_FORMS: WeakKeyDictionary[Any, tuple[str, Form]] = WeakKeyDictionary()


def _form(tokenizer: Any, template: str) -> Form:
    held = _FORMS.get(tokenizer)
    if held is not None and held[0] == template:
        return held[1]
    variables = switched_off(template)
    prompt = _apply(tokenizer, [{"role": "user", "content": QUESTION}], True, variables)
    opening = _opening(tokenizer, prompt, variables)
    note = None
    if variables or opening:
        note = "This model can think before it answers. Thinking is not elicited, trained on or measured: "
        if variables:
            note += f"its template is asked to leave it out ({', '.join(f'{k}={v}' for k, v in variables)}); "
        if opening:
            note += f"the answer is opened for it ({opening.strip()!r} after the prompt); "
        note += "what it thinks all the same is cut"
    form = Form(variables, opening, note)
    _FORMS[tokenizer] = template, form
    return form


@lru_cache(maxsize=64)
def switched_off(template: str) -> tuple[tuple[str, Any], ...]:
    """The variables of a template that keep a model from thinking, with the values that do."""
    free = _variables(template)
    found = [(name, value) for name, value in OFF.items() if name in free]
    if EFFORT in free:
        found.append((EFFORT, "none" if re.search(r"""["']none["']""", template) else "low"))
    return tuple(found)


def _variables(template: str) -> set[str]:
    """Names that a template reads and does not set itself."""
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}`, by which templates for training mark an answer."""

        tags = {"generation"}

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(extensions=[Generation, "jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError:
        return set()
    # A template that gives such a variable a value of its own, where the caller gives none, sets it as well.
    defined = {node.node.name for node in tree.find_all(nodes.Test) if isinstance(node.node, nodes.Name)}
    return meta.find_undeclared_variables(tree) | defined


def _apply(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], ask: bool, variables: Sequence[tuple[str, Any]]
) -> str:
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask, **dict(variables))
    )


def _opening(tokenizer: Any, prompt: str, variables: Sequence[tuple[str, Any]]) -> str:
    """What is missing between a rendered prompt and an answer."""
    end = prompt.rstrip()
    for begin, close in MARKS:
        if end.endswith(begin):
            return ("" if prompt != end else "\n") + f"\n{close}\n\n"
    answered = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    whole = _apply(tokenizer, answered, False, variables)
    if not whole.startswith(prompt) or ANSWER not in whole[len(prompt) :]:
        return ""
    between = whole[len(prompt) :].partition(ANSWER)[0]
    thinks = any(mark in between for pair in MARKS for mark in pair)
    return between if thinks or CHANNEL in between else ""


def render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
    """Messages as the chat template writes them; with `ask`, up to where the assistant's answer begins.

    Raises:
        ModelError: the template fails on a plain question.
        Exception: whatever the template raises on these messages.
    """
    form = form_of(tokenizer)
    return _apply(tokenizer, messages, ask, form.variables) + (form.opening if ask else "")


def render_question(tokenizer: Any, messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
    """`render` of plain messages, which every template takes.

    Raises:
        ModelError: the template fails.
    """
    try:
        return render(tokenizer, messages, ask)
    except ModelError:
        raise
    except Exception as error:
        raise _template_error(error) from error


def said(tokenizer: Any, tokens: Sequence[Sequence[int]]) -> list[str]:
    """A model's answer from its tokens: text without special tokens and without thinking."""
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    # Marks that are special tokens are gone from these texts, the text between them is not.
    specials = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    marks = specials & {CHANNEL, *(mark for pair in MARKS for mark in pair)}
    if marks:
        for i, text in enumerate(tokenizer.batch_decode(tokens, skip_special_tokens=False)):
            if any(mark in text for mark in marks):
                texts[i] = without_thinking(text)
                for token in sorted(specials, key=len, reverse=True):
                    texts[i] = texts[i].replace(token, "")
    return [without_thinking(text) for text in texts]
