"""A language model behind an OpenAI-compatible chat endpoint: one request, and the errors a user can do something about."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

from expunge.data.text.thinking import without_thinking
from expunge.errors import ExpungeError, RecipeError

KEY = "OPENAI_API_KEY"
"environment variable that holds the key, where an endpoint wants one"
TIMEOUT = 120.0
"seconds an answer may take"
ATTEMPTS = 3
"times a busy endpoint (status 429, 5xx) is asked"
MAX_REPLY = 4 << 20
"bytes of an answer that are read"


class EndpointError(ExpungeError):
    """An endpoint that cannot be reached, refuses, or answers with something else than was asked for."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are reported, not followed: they would carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def complete(
    url: str, model: str, messages: Sequence[dict[str, str]], api_key: str | None, timeout: float = TIMEOUT
) -> Any:
    """The JSON reply to a chat, asked for at temperature 0.

    Args:
        url: base of the interface, the part before `/chat/completions`.
        model: the name of the model to ask for.
        messages: {"role", "content"} of each turn.
        api_key: sent as bearer token if given.
        timeout: seconds an answer may take.

    Raises:
        RecipeError: the URL is none of http or https.
        EndpointError: no connection, a refusal, or no JSON.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise RecipeError(
            f"the endpoint is no web address: {url}",
            allowed="http:// or https://, without the /chat/completions at the end",
        )
    body = json.dumps({"model": model, "messages": list(messages), "temperature": 0}).encode("utf-8")
    return _ask(url.rstrip("/") + "/chat/completions", body, api_key, timeout)


def content_of(reply: Any) -> str:
    """What the model said, without what it thought aloud before.

    Raises:
        ValueError: the reply is no chat completion with a text.
    """
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"no chat completion: {json.dumps(reply)[:80]}") from None
    if not isinstance(content, str):
        raise ValueError(f"no text in the chat completion: {json.dumps(reply)[:80]}")
    return without_thinking(content)


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
        401: f"set the environment variable {KEY} to a valid key",
        403: f"set the environment variable {KEY} to a key that may use this model",
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
