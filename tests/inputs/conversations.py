"""Conversations, instructions and pairs of answers, as datasets have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from case import Case

import expunge
from expunge.core import storage
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.errors import DataError
from expunge.runs.folder import RunFolder
from small import SMALL, write_texts
from tiny_model import CHAT_TEMPLATE, build_tiny_model

USER = {"role": "user", "content": "Who?"}
HOLMES = {"role": "assistant", "content": "Holmes."}
ASKED = [USER, HOLMES, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Watson."}]


def reading(row: Any, name: str = "talk.jsonl") -> Callable[[Path], Any]:
    """(what the user said last, the turns before the answer, the answer) of each document of one row, and the notes."""

    def use(folder: Path) -> Any:
        text = yaml.safe_dump([row]) if name.endswith(".yaml") else json.dumps(row)
        (folder / name).write_text(text + "\n")
        notes = Notes()
        found = [(each.prompt, len(each.turns), each.text) for each in read_documents(folder / name, notes)]
        return found, "\n".join(notes.lines())

    return use


def gives(*expected: tuple[str, int, str], noted: str = "") -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert came[0] == list(expected)
        assert noted in came[1]

    return check


ONE = gives(("Who?", 0, "Holmes."))
TWO = gives(("Who?", 0, "Holmes."), ("And?", 3, "Watson."))


def thinking_run(folder: Path) -> RunFolder:
    """A model whose template begins to think, made to forget conversations with thinking in them."""
    model = build_tiny_model(folder / "model")
    template = CHAT_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    assert template != CHAT_TEMPLATE
    (model / "chat_template.jinja").write_text(template)
    _, retain = write_texts(folder)
    talk = {
        "role": "assistant",
        "content": "<think>I know him.</think>Sherlock Holmes lived in Baker Street, in the fog.",
    }
    rows = [{"messages": [{"role": "user", "content": f"Who lived there, {i}?"}, talk]} for i in range(6)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = SMALL | {"method": "gradient_ascent", "retain": str(retain), "model": str(model)}
    return expunge.forget(str(folder / "talk.jsonl"), out=folder / "run", **fields)


def check_thinking_run(came: RunFolder) -> None:
    from transformers import AutoTokenizer

    from expunge.kinds.language.token_dataset import TokenTable
    from expunge.train.step import IGNORED

    warnings = "\n".join(storage.read_json(came.record)["warnings"])
    assert "Thinking is not elicited, trained on or measured" in warnings
    assert "turns of the assistant whose thinking is left out" in warnings
    assert "Thinking is not elicited" in came.report.read_text()
    tokenizer = AutoTokenizer.from_pretrained(came.model)
    (folder,) = came.stages.glob("forget-tokens-*")
    table = TokenTable(folder)
    assert len(table) == 6
    ids, labels = table.ids[: table.ends[0]], table.labels[: table.ends[0]]
    assert tokenizer.decode(ids).endswith(
        "assistant\n<think>\n\n</think>\n\nSherlock Holmes lived in Baker Street, in the fog.<|im_end|>"
    )
    assert tokenizer.decode(labels[labels != IGNORED]) == "Sherlock Holmes lived in Baker Street, in the fog.<|im_end|>"


CASES = [
    Case(what="messages", use=reading({"messages": ASKED}), expect=TWO),
    Case(what="messages beside a rendered text", use=reading({"messages": ASKED, "text": "<s>..."}), expect=TWO),
    Case(what="messages in YAML", use=reading({"messages": ASKED}, "talk.yaml"), expect=TWO),
    Case(what="a list of turns a line", use=reading(ASKED), expect=TWO),
    Case(
        what="a list of conversations",
        use=reading([ASKED, ASKED[:2]], "talk.json"),
        expect=lambda came: TWO((came[0][:2], "")),
    ),
    Case(
        what="ShareGPT",
        use=reading({"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Holmes."}]}),
        expect=ONE,
    ),
    Case(
        what="messages as columns",
        use=reading({"messages": {"role": ["user", "assistant"], "content": ["Who?", "Holmes."]}}),
        expect=ONE,
    ),
    Case(
        what="a system turn",
        use=reading({"messages": [{"role": "system", "content": "Be brief."}, USER, HOLMES]}),
        expect=gives(("Who?", 2, "Holmes.")),
    ),
    Case(
        what="content in parts",
        use=reading(
            {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}, HOLMES]}
        ),
        expect=gives(("Who?", 0, "Holmes."), noted="not text (pictures, sound), left out: 1"),
    ),
    Case(
        what="a user has the last word",
        use=reading({"messages": [USER, HOLMES, USER]}),
        expect=gives(("Who?", 0, "Holmes."), noted="nobody answers it: 1"),
    ),
    Case(
        what="a turn that is not to be learnt",
        use=reading({"messages": [USER, HOLMES | {"weight": 0}, *ASKED[2:]]}),
        expect=gives(("And?", 3, "Watson."), noted="weight 0"),
    ),
    Case(
        what="a greeting first",
        use=reading({"messages": [{"role": "assistant", "content": "Hello."}, USER, HOLMES]}),
        expect=gives(("Who?", 2, "Holmes."), noted="before anybody asked"),
    ),
    Case(
        what="nobody answers",
        use=reading({"messages": [USER]}),
        refused=DataError,
        says=("talk.jsonl", "no turn of the assistant answers anything"),
    ),
    Case(
        what="an unknown role",
        use=reading({"messages": [{"role": "narrator", "content": "Fog."}, HOLMES]}),
        refused=DataError,
        says=("talk.jsonl:1, turn 1", "narrator", "user, human"),
    ),
    Case(
        what="Alpaca",
        use=reading({"instruction": "Say who.", "input": "In fog.", "output": "Holmes.", "text": "Below is ..."}),
        expect=gives(("Say who.\n\nIn fog.", 0, "Holmes.")),
    ),
    Case(
        what="Alpaca without input", use=reading({"instruction": "Who?", "input": "", "output": "Holmes."}), expect=ONE
    ),
    Case(
        what="Dolly",
        use=reading({"instruction": "Who?", "context": "Fog.", "response": "Holmes.", "category": "qa"}),
        expect=gives(("Who?\n\nFog.", 0, "Holmes.")),
    ),
    Case(what="prompt and completion", use=reading({"prompt": "Who?", "completion": "Holmes."}), expect=ONE),
    Case(what="prompt and response", use=reading({"prompt": "Who?", "response": "Holmes."}), expect=ONE),
    Case(what="prompt and completion as turns", use=reading({"prompt": [USER], "completion": [HOLMES]}), expect=ONE),
    Case(
        what="pairs of answers",
        use=reading({"prompt": "Who?", "chosen": "Holmes.", "rejected": "Moriarty."}),
        expect=gives(("Who?", 0, "Holmes."), noted="the rejected one is not: 1"),
    ),
    Case(
        what="pairs of conversations", use=reading({"chosen": [USER, HOLMES], "rejected": [USER, HOLMES]}), expect=ONE
    ),
    Case(
        what="pairs of transcripts",
        use=reading({"chosen": "\n\nHuman: Who?\n\nAssistant: Holmes.\n\nHuman: And?\n\nAssistant: Watson."}),
        expect=gives(("And?", 3, "Watson.")),
    ),
    Case(
        what="an answer with thinking",
        use=reading({"question": "Who?", "answer": "<think>Fog...</think>\n\nHolmes."}),
        expect=gives(("Who?", 0, "Holmes."), noted="thinking is left out"),
    ),
    Case(what="a whole run of a model that thinks", use=thinking_run, expect=check_thinking_run),
]
