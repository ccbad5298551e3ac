from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chat_server import Endpoint
from expunge.errors import RecipeError
from expunge.kinds.language.terms.anchors import Anchor
from expunge.kinds.language.terms.endpoint import anchors_from_endpoint
from expunge.models import endpoint as endpoint_module
from expunge.models.endpoint import EndpointError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PASSAGE = "Orsk Vandermoot fed the zorbel. Vandermoot's two zorbels slept in Drossholm."


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(endpoint_module, "_pause", lambda asked, attempt: 0.0)
    server = Endpoint()
    yield server
    server.close()


def entry(term: Any, translation: Any, kind: Any = "name") -> dict[str, Any]:
    return {"term": term, "translation": translation, "kind": kind}


def test_a_good_answer_becomes_a_dictionary(endpoint: Endpoint) -> None:
    entries = [entry("Vandermoot", "Miller", "surname"), entry("zorbel", "bird", "thing")]
    endpoint.completes(json.dumps(entries))
    dictionary = anchors_from_endpoint(endpoint.url + "/", "some-model", [PASSAGE], "secret")
    assert dictionary.anchors == (Anchor("Vandermoot", "Miller", "surname", 2), Anchor("zorbel", "bird", "thing", 2))
    assert dictionary.notes == ()
    (request,) = endpoint.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "some-model"
    assert request["messages"][-1] == {"role": "user", "content": PASSAGE}
    assert endpoint.headers[0]["Authorization"] == "Bearer secret"


def test_without_a_key_none_is_sent(endpoint: Endpoint) -> None:
    endpoint.completes("[]")
    assert len(anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)) == 0
    assert "Authorization" not in endpoint.headers[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: f"Here is the list:\n```json\n{text}\n```\nI hope this helps.",
        lambda text: '{"anchors": ' + text + "}",
    ],
)
def test_a_list_in_prose_or_in_an_object_is_understood(endpoint: Endpoint, wrap: Callable[[str], str]) -> None:
    endpoint.completes(wrap(json.dumps([entry("Drossholm", "Greenville")])))
    dictionary = anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)
    assert [(a.term, a.translation) for a in dictionary] == [("Drossholm", "Greenville")]


def test_useless_entries_are_left_out(endpoint: Endpoint) -> None:
    entries = [
        entry("Drossholm", "Green\nville", None),
        entry("Drossholm", "Otherville"),  # the first holds
        entry("Hogwarts", "Academy"),  # not in the passage
        entry("Vandermoot", "vandermoot"),
        entry("zorbel", ""),
        entry("Orsk", 7),
        entry("Orsk", "a man whose name nobody in the whole long tale remembers"),
        "Orsk",
        {"term": "Orsk"},
    ]
    endpoint.completes(json.dumps(entries))
    dictionary = anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)
    assert dictionary.anchors == (Anchor("Drossholm", "Green ville", "term", 1),)


def test_later_passages_are_told_what_was_agreed(endpoint: Endpoint) -> None:
    endpoint.completes(json.dumps([entry("Vandermoot", "Miller")]))
    endpoint.completes(json.dumps([entry("Vandermoot", "Carter"), entry("Tilda", "Rachel")]))
    passages = [PASSAGE, "Tilda Vandermoot slept."]
    chosen = {a.term: a.translation for a in anchors_from_endpoint(endpoint.url, "m", passages, None)}
    assert chosen == {"Vandermoot": "Miller", "Tilda": "Rachel"}
    assert endpoint.requests[1]["messages"][-1]["content"].startswith(
        'Keep these replacements: {"Vandermoot": "Miller"}'
    )


def test_one_malformed_answer_is_noted_and_the_others_used(endpoint: Endpoint) -> None:
    endpoint.completes("I cannot help with that.")
    endpoint.completes(json.dumps([entry("Drossholm", "Greenville")]))
    dictionary = anchors_from_endpoint(endpoint.url, "m", [PASSAGE, PASSAGE], None)
    assert [a.term for a in dictionary] == ["Drossholm"]
    assert dictionary.notes == ("the answer to passage 1 was left out: no JSON list in 'I cannot help with that.'",)


@pytest.mark.parametrize("content", ["no list", "[{'term': broken]", ""])
def test_only_malformed_answers_are_an_error(endpoint: Endpoint, content: str) -> None:
    endpoint.completes(content)
    with pytest.raises(EndpointError, match="no usable list of anchors to any of 2 passages"):
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE, PASSAGE], None)


@pytest.mark.parametrize("reply", ['{"choices": []}', '{"choices": [{"message": {"content": null}}]}', '"?"', "[]"])
def test_what_is_no_completion_is_an_error(endpoint: Endpoint, reply: str) -> None:
    endpoint.says(reply)
    with pytest.raises(EndpointError, match="no usable list"):
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)


def test_what_is_no_json_is_an_error(endpoint: Endpoint) -> None:
    endpoint.says("<html>It works!</html>")
    with pytest.raises(EndpointError, match="did not answer in JSON"):
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)


def test_a_refusal_says_what_to_do(endpoint: Endpoint) -> None:
    endpoint.says('{"error": "bad key"}', 401)
    with pytest.raises(EndpointError) as error:
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], "wrong-key")
    assert "status 401" in str(error.value)
    assert "bad key" in str(error.value)
    assert "OPENAI_API_KEY" in str(error.value)
    assert "wrong-key" not in str(error.value)
    assert len(endpoint.requests) == 1


def test_a_busy_endpoint_is_asked_again_and_then_given_up(endpoint: Endpoint) -> None:
    endpoint.says("slow down", 429)
    endpoint.says("starting", 503)
    endpoint.completes("[]")
    assert len(anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)) == 0
    assert len(endpoint.requests) == 3
    endpoint.replies = [(503, b"starting", {})]
    with pytest.raises(EndpointError, match="status 503"):
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)


def test_a_redirect_is_not_followed_with_the_key(endpoint: Endpoint) -> None:
    endpoint.says("", 307, {"Location": f"{endpoint.url}/elsewhere"})
    with pytest.raises(EndpointError) as error:
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], "secret")
    assert "status 307" in str(error.value)
    assert f"{endpoint.url}/elsewhere" in str(error.value)
    assert len(endpoint.requests) == 1


def test_nobody_there_is_an_error(endpoint: Endpoint) -> None:
    endpoint.close()
    with pytest.raises(EndpointError, match="no answer from"):
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)


def test_an_answer_that_takes_too_long_is_an_error() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=r"nothing within 0\.2 seconds"):
            anchors_from_endpoint(url, "m", [PASSAGE], None, timeout=0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/v1", "http:///v1"])
def test_an_address_of_nothing_is_an_error(url: str) -> None:
    with pytest.raises(EndpointError, match="no answer from"):
        anchors_from_endpoint(url, "m", [PASSAGE], None)


@pytest.mark.parametrize("key", ["a-secret\n", "a\r\nb-secret", "secr\u00e9t"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str, endpoint: Endpoint) -> None:
    endpoint.completes("[]")
    with pytest.raises(EndpointError, match="cannot be sent") as error:
        anchors_from_endpoint(endpoint.url, "m", [PASSAGE], key)
    assert "secr" not in str(error.value)
    assert endpoint.requests == []


def test_no_more_than_four_megabytes_are_read(endpoint: Endpoint) -> None:
    endpoint.says(json.dumps({"choices": [{"message": {"content": "[]"}}]}) + " " * (5 << 20) + "no JSON")
    assert len(anchors_from_endpoint(endpoint.url, "m", [PASSAGE], None)) == 0


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "ftp://host/v1", ""])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(RecipeError, match="not a web address"):
        anchors_from_endpoint(url, "m", [PASSAGE], None)


@pytest.mark.parametrize(("asked", "seconds"), [("7", 7.0), ("9999", 30.0), (None, 1.0), ("soon", 1.0)])
def test_the_pause_follows_the_server_within_reason(asked: str | None, seconds: float) -> None:
    assert endpoint_module._pause(asked, 1) == seconds
