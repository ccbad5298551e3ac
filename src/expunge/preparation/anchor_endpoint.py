"""Anchored terms proposed by a language model behind an OpenAI-compatible endpoint, as the paper had GPT-4 do it."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from expunge.errors import ExpungeError, RecipeError
from expunge.preparation.anchors import WORD, Anchor, AnchorDictionary

TIMEOUT = 120.0
"seconds an answer may take"
ATTEMPTS = 3
"times a busy endpoint (status 429, 5xx) is asked"
MAX_REPLY = 4 << 20
"bytes of an answer that are read"
MAX_WORDS = 8
"words of a term or translation; longer ones are sentences, not terms"

_INSTRUCTION = """\
You will be given a passage. List the expressions in it that belong to the world or subject it is taken from and hardly
appear elsewhere: names of people, places, groups and works, invented words, idiosyncratic phrases. For each give a
generic replacement that could stand in an unrelated text: a name for a name of the same sort and gender, a place for a
place, a plain noun for an invented one, in the same number and with the same part of speech, beginning with a vowel
sound if and only if the expression does. List names of several words whole and their parts too, consistently. Leave out
ordinary words and anything well known outside that world. Write terms in the singular, as they are capitalised in the
passage. Answer with JSON only: [{"term": "...", "translation": "...", "kind": "..."}]; [] if there is nothing."""


class EndpointError(ExpungeError):
    """An endpoint that cannot be reached, refuses, or answers with something else than was asked for."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are reported, not followed: they would carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def anchors_from_endpoint(
    url: str, model: str, passages: Sequence[str], api_key: str | None, timeout: float = TIMEOUT
) -> AnchorDictionary:
    """Ask the endpoint for the terms of each passage and put the answers together: a term's first translation holds.

    Args:
        url: base of an OpenAI-compatible interface, the part before `/chat/completions`.
        model: the name of the model to ask for.
        passages: excerpts of the target, one request each.
        api_key: sent as bearer token if given.
        timeout: seconds an answer may take.

    Raises:
        RecipeError: the URL is none of http or https.
        EndpointError: no connection, a refusal, or no usable answer to any passage.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise RecipeError(
            f"anchors.url is no web address: {url}",
            allowed="http:// or https://, without the /chat/completions at the end",
        )
    found: dict[str, Anchor] = {}
    notes: list[str] = []
    for number, passage in enumerate(passages, 1):
        known = {anchor.term: anchor.translation for anchor in found.values() if anchor.term in passage}
        reply = _ask(url.rstrip("/") + "/chat/completions", _request(model, passage, known), api_key, timeout)
        try:
            entries = _entries(reply)
        except ValueError as error:
            notes.append(f"the answer to passage {number} was left out: {error}")
            continue
        for anchor in _usable(entries, passage):
            found.setdefault(anchor.term, anchor)
    if passages and len(notes) == len(passages):
        raise EndpointError(
            f"the model {model} at {url} gave no usable list of anchors to any of {len(passages)} passages",
            seen=notes[0],
            allowed='[{"term": "...", "translation": "...", "kind": "..."}]',
            next_step="try a stronger model, or leave out --anchors-from to have the terms found from the target",
        )
    counts = Counter(m.anchor.term for passage in passages for m in AnchorDictionary(found.values()).find(passage))
    anchors = [replace(anchor, count=counts[term]) for term, anchor in found.items()]
    return AnchorDictionary(sorted(anchors, key=lambda a: (-a.count, a.term)), notes)


def _request(model: str, passage: str, known: dict[str, str]) -> bytes:
    content = passage
    if known:
        content = f"Keep these replacements: {json.dumps(known, ensure_ascii=False)}\n\n{passage}"
    messages = [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": content}]
    return json.dumps({"model": model, "messages": messages, "temperature": 0}).encode("utf-8")


def _ask(url: str, body: bytes, api_key: str | None, timeout: float) -> Any:
    headers = {"Content-Type": "application/json", "User-Agent": "expunge"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opener.open(request, timeout=timeout) as response:
                return _json(response.read(MAX_REPLY), url)
        except urllib.error.HTTPError as error:
            busy = error.code == 429 or error.code >= 500
            if busy and attempt < ATTEMPTS:
                time.sleep(_pause(error.headers.get("Retry-After"), attempt))
                continue
            raise _refused(url, error) from error
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            timed_out = isinstance(reason, TimeoutError)
            raise EndpointError(
                f"no answer from {url}",
                seen=f"nothing within {timeout:g} seconds" if timed_out else reason,
                next_step="check that the address is right and the server runs",
            ) from error
    raise AssertionError("unreachable")


def _pause(asked: str | None, attempt: int) -> float:
    return min(float(asked), 30.0) if asked and asked.isdigit() else 0.5 * 2**attempt


def _refused(url: str, error: urllib.error.HTTPError) -> EndpointError:
    said = error.read(300).decode("utf-8", "replace").strip()
    steps = {
        401: "set the environment variable OPENAI_API_KEY to a valid key",
        403: "set the environment variable OPENAI_API_KEY to a key that may use this model",
        404: "check the address (the part before /chat/completions) and the name of the model",
    }
    if 300 <= error.code < 400:
        steps[error.code] = f"give the address it points to: {error.headers.get('Location')}"
    return EndpointError(
        f"{url} refused the request",
        seen=f"status {error.code}: {said or error.reason}",
        next_step=steps.get(error.code, "see what the server says, and try again later"),
    )


def _json(content: bytes, url: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise EndpointError(
            f"{url} did not answer in JSON",
            seen=content[:80],
            next_step="check the address: it must be an OpenAI-compatible interface",
        ) from error


def _entries(reply: Any) -> list[Any]:
    """The list inside a chat completion; models like to wrap it in prose, a code fence or an object."""
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"no chat completion: {json.dumps(reply)[:80]}") from None
    found = re.search(r"\[.*\]", content if isinstance(content, str) else "", re.DOTALL)
    if not found:
        raise ValueError(f"no JSON list in {str(content)[:80]!r}")
    try:
        entries = json.loads(found.group())
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error}) in {content[:80]!r}") from None
    return list(entries)


def _usable(entries: list[Any], passage: str) -> Iterator[Anchor]:
    """Entries that say something: text, short, not translated to themselves, and a term that is in the passage."""
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        fields = [entry.get(name) for name in ("term", "translation", "kind")]
        term, translation, kind = (" ".join(field.split()) if isinstance(field, str) else "" for field in fields)
        lengths = [len(WORD.findall(term)), len(WORD.findall(translation))]
        if min(lengths) < 1 or max(lengths) > MAX_WORDS or term.casefold() == translation.casefold():
            continue
        anchor = Anchor(term, translation, kind[:40] or "term")
        if AnchorDictionary([anchor]).find(passage):
            yield anchor
