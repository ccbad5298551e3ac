"""A language model behind an OpenAI-compatible chat endpoint: one request, and errors that a user can act on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import httpx2

from expunge.data.text.thinking import without_thinking
from expunge.errors import ExpungeError, RecipeError

KEY = "OPENAI_API_KEY"
"environment variable that holds the key, where an endpoint wants one"
TIMEOUT = 120.0
"seconds an answer may take"
ATTEMPTS = 3
"times a busy endpoint (status 429, 5xx) is asked"
PIECE, PIECES = 1 << 16, 64
"an answer is read in this many bytes at a time, and up to this many times: 4 MiB"


class EndpointError(ExpungeError):
    """An endpoint that cannot be reached, refuses, or answers in an unexpected form."""


def complete(
    url: str, model: str, messages: Sequence[dict[str, str]], api_key: str | None, timeout: float = TIMEOUT
) -> Any:
    """The JSON reply to a chat, at temperature 0.

    Args:
        url: base of the interface, the part before `/chat/completions`.
        messages: {"role", "content"} of each turn.
        timeout: seconds an answer may take.

    Raises:
        RecipeError: the URL is not http or https.
        EndpointError: no connection, a refusal, no JSON, or a key that cannot be sent in a header.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise RecipeError(
            f"the endpoint is not a web address: {url}",
            allowed="http:// or https://, without the /chat/completions at the end",
        )
    url = url.rstrip("/") + "/chat/completions"
    body = json.dumps({"model": model, "messages": list(messages), "temperature": 0})
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "expunge"}
    if api_key:
        headers["Authorization"] = f"Bearer {_sendable(api_key)}"
    try:
        response, content = _ask(url, body, headers, timeout)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        late = isinstance(error, httpx2.TimeoutException)
        raise EndpointError(
            f"no answer from {url}",
            seen=f"nothing within {timeout:g} seconds" if late else error,
            next_step="check that the address is right and the server runs",
        ) from error
    if not response.is_success:
        raise _refused(url, response, content)
    try:
        return json.loads(content)
    except ValueError as error:
        raise EndpointError(
            f"{url} did not answer in JSON",
            seen=content[:80],
            next_step="check the address: it must be an OpenAI-compatible interface",
        ) from error


def content_of(reply: Any) -> str:
    """The model's answer, without its thoughts before.

    Raises:
        ValueError: the reply is not a chat completion with a text.
    """
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"no chat completion: {json.dumps(reply)[:80]}") from None
    if not isinstance(content, str):
        raise ValueError(f"no text in the chat completion: {json.dumps(reply)[:80]}")
    return without_thinking(content)


def _ask(url: str, body: str, headers: dict[str, str], timeout: float) -> tuple[httpx2.Response, bytes]:
    """The response and its content. Redirects are not followed, since they would send the key elsewhere."""
    for attempt in range(1, ATTEMPTS + 1):
        with httpx2.stream("POST", url, content=body, headers=headers, timeout=timeout) as response:
            content = b"".join(islice(response.iter_raw(PIECE), PIECES))
        if attempt < ATTEMPTS and (response.status_code == 429 or response.is_server_error):
            time.sleep(_pause(response.headers.get("Retry-After"), attempt))
        else:
            break
    return response, content


def _sendable(key: str) -> str:
    """The key, refused, without being shown, if it cannot be sent in a header."""
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"the key in {KEY} holds line breaks or other characters that cannot be sent",
            next_step=f"set the environment variable {KEY} to a valid key",
        )
    return key.strip()


def _pause(asked: str | None, attempt: int) -> float:
    return min(float(asked), 30.0) if asked and asked.isdigit() else 0.5 * 2**attempt


def _refused(url: str, response: httpx2.Response, content: bytes) -> EndpointError:
    code, said = response.status_code, content[:300].decode("utf-8", "replace").strip()
    steps = {
        401: f"set the environment variable {KEY} to a valid key",
        403: f"set the environment variable {KEY} to a key that may use this model",
        404: "check the address (the part before /chat/completions) and the name of the model",
    }
    if response.is_redirect:
        steps[code] = f"give the address it points to: {response.headers.get('Location')}"
    return EndpointError(
        f"{url} refused the request",
        seen=f"status {code}: {said or response.reason_phrase}",
        next_step=steps.get(code, "see the server's message, and try again later"),
    )
