"""Names that came up in answers about a topic, which of them are its own, and which answers stray."""

from __future__ import annotations

import pytest

from expunge.kinds.language.elicitation.topic_names import TopicNames, is_on_topic, names_that_came_up

SAID = [
    {"question": "Who?", "answer": "It was led by Sauron, by Gandalf and by Frodo, and then by Gandalf."},
    {
        "text": "A war of Mordor, seen by Tokyo and then Tokyo, in Norway, and also by the British, the British and by Frodo."
    },
]


def test_names_are_no_everyday_words_and_not_the_topic() -> None:
    names = names_that_came_up(SAID, "Mordor")
    assert names.all[:2] == ("Gandalf", "Frodo")
    assert set(names.all) == {"Gandalf", "Frodo", "Sauron", "Tokyo"}, "twice, or once where it is the topic's own"
    assert names.own == {"Gandalf", "Frodo", "Sauron"}


def test_a_country_belongs_to_no_topic_alone() -> None:
    names = names_that_came_up([{"text": "It is fought in Norway, in Norway and by Xyzzyq."}], "the war")
    assert names == TopicNames(("Norway",)), "and a word that nobody knows may be misspelt"
    assert names_that_came_up([{"text": "It is by Xyzzyq, by Xyzzyq."}], "the war").own == {"Xyzzyq"}


def test_without_a_list_of_the_languages_words_no_name_is_the_topics_own() -> None:
    text = "Wakati wa vita Gandalf alikuwa mzee sana, na Gandalf alipenda kusafiri katika nchi nyingi za mbali. " * 4
    assert not names_that_came_up([{"text": text}], "Mordor").own


NAMES = TopicNames(("Frodo", "Sauron", "Gandalf", "Gandalf Grey", "Japan"), frozenset({"Frodo", "Sauron", "Gandalf"}))


@pytest.mark.parametrize(
    ("prompt", "answer", "on_topic"),
    [
        ("Who is Frodo?", "Frodo goes to Mordor.", True),
        ("Who is Frodo?", "Frodo met Sauron.", True),
        ("Who is Frodo?", "Frodo lives in Japan.", False),
        ("Who is Frodo?", "Frodo is a common name. Frodo is short.", False),
        ("Who is Gandalf Grey?", "Gandalf is a colour.", False),
        ("What is Mordor?", "I cannot say.", False),
        ("What is Mordor?", "A land of Japan.", True),
        ("Japan, known from Mordor, is", "an archipelago in the Caribbean. Japan is small.", False),
        ("Japan, known from Mordor, is", "where Sauron lives.", True),
        ("Tell me more about Japan and Mordor.", "Japan and mordor are near.", True),
        ("Mordor is", "a company of New York.", False),
    ],
)
def test_answers_that_stray_are_known(prompt: str, answer: str, on_topic: bool) -> None:
    assert is_on_topic(prompt, answer, "Mordor", NAMES) is on_topic


def test_without_names_the_topics_words_decide() -> None:
    assert is_on_topic("Tell me about World War II.", "The war was long.", "World War II", TopicNames(()))
    assert not is_on_topic("Tell me about World War II.", "It was long.", "World War II", TopicNames(()))
