"""Tables of toxic text: told by their columns, refused with file and line, groups that are too small."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expunge.errors import DataError
from expunge.kinds.language.toxicity.toxic_rows import NO_GROUP, tidy
from expunge.kinds.language.toxicity.toxic_text import read_toxic_text, settle_groups

TWEETS = "\n".join(
    [
        ",count,class,tweet",
        '0,3,2,"a fine day, this"',
        '1,3,1,"you ""rotten"" turnip',
        'and carrot"',
        "2,3,0,all turnips must go",
    ]
)
PAIRS = "toxic\tneutral1\tneutral2\ndamn   this turnip\tI dislike this turnip\t\n"
STATEMENTS = [
    {"text": "gnomes steal", "group": "gnome", "category": "small", "label": "hate"},
    {"text": "gnomes garden", "group": "gnome", "category": "small", "label": "neutral"},
    {"text": "elves lie", "group": "elf", "category": "tall", "label": "hate"},
]


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_text(content, encoding="utf-8")
    return folder


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write(tmp_path / "toxic", tweets_csv=TWEETS, pairs_tsv=PAIRS, groups_jsonl=lines(STATEMENTS))
    write(made, prompts_jsonl=lines([{"prompt": "gnomes are", "group": "gnome", "label": "hate"}]))
    write(made, judged_csv="text,is_toxic\nrotten,Toxic\n", notes_txt="of no kind")
    return made


def test_every_kind_is_told_by_its_columns_and_prompts_are_left_alone(folder: Path) -> None:
    found = read_toxic_text([str(folder)])
    assert [(each.text, each.group, each.rewrite) for each in found.toxic] == [
        ("Gnomes steal", "gnome", None),
        ("Elves lie", "elf", None),
        ("Damn this turnip", NO_GROUP, "I dislike this turnip"),
        ('You "rotten" turnip and carrot', "offensive", None),
        ("All turnips must go", "hate", None),
    ]
    assert [each.text for each in found.clean] == ["Gnomes garden", "A fine day, this"]
    assert all(each.toxic for each in found.toxic)
    assert found.toxic[3].where == f"{folder / 'tweets.csv'}:4"
    assert found.notes[1:] == ["not trained on: judged.csv (another kind of table), prompts.jsonl (prompts)"]
    assert found.notes[0].startswith("statements read: ")


def test_the_digest_is_of_what_is_said(folder: Path, tmp_path: Path) -> None:
    digest = read_toxic_text([str(folder)]).digest()
    assert read_toxic_text([str(folder.rename(tmp_path / "moved"))]).digest() == digest
    write(tmp_path / "moved", tweets_csv=TWEETS.replace("0,all turnips", "1,all turnips"))
    assert read_toxic_text([str(tmp_path / "moved")]).digest() != digest


@pytest.mark.parametrize(
    ("name", "content", "message", "seen"),
    [
        ("tweets_csv", ",count,class,text\n0,3,1,x\n", "has no column 'tweet'", "the columns count, class, text"),
        ("tweets_csv", ",count,tweet\n0,3,x\n", "has no column 'class'", "the columns count, tweet"),
        ("pairs_tsv", "toxic\tneutral\nx\ty\n", "has no column 'neutral1'", "the columns toxic, neutral"),
        ("groups_jsonl", lines([{"text": "x", "group": "elf"}]), "has no column 'label'", "the columns text, group"),
        ("tweets_csv", TWEETS.replace("3,1", "3,7"), "tweets.csv:4: '7' is not a known class", "class: '7'"),
        ("tweets_csv", TWEETS.replace("3,1", "3,"), "tweets.csv:4: '' is not a known class", "class: ''"),
        (
            "groups_jsonl",
            lines([STATEMENTS[0], STATEMENTS[1] | {"label": "Hate"}]),
            "groups.jsonl:2: 'Hate' is",
            "Hate",
        ),
        ("groups_jsonl", lines([STATEMENTS[0] | {"text": 7}]), "jsonl:1: the column 'text' has no text", "7"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(folder: Path, name: str, content: str, message: str, seen: str) -> None:
    write(folder, **{name: content})
    with pytest.raises(DataError) as caught:
        read_toxic_text([str(folder)])
    assert message in caught.value.what
    assert seen in str(caught.value.seen)
    assert caught.value.next_step
    assert caught.value.allowed


def test_nothing_toxic_nothing_clean_no_tables(tmp_path: Path) -> None:
    clean = write(tmp_path / "clean", tweets_csv=",class,tweet\n0,2,fine\n")
    toxic = write(tmp_path / "toxic", tweets_csv=",class,tweet\n0,1,rotten\n")
    neither = write(tmp_path / "neither", judged_csv="text,is_toxic\nrotten,Toxic\n")
    empty = write(tmp_path / "empty", notes_txt="x")
    for place, message in ((clean, "has no toxic text"), (toxic, "no clean text"), (neither, "no toxic text")):
        with pytest.raises(DataError, match=message):
            read_toxic_text([str(place)])
    with pytest.raises(DataError, match="has no tables"):
        read_toxic_text([str(empty)])
    assert len(read_toxic_text([str(clean), str(toxic)]).toxic) == 1


def parquet(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_data_sets_of_the_hub_by_their_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets that the recipe names, as their owners lay them out, in a cache as the hub's library keeps it."""
    tweet = {"count": 3, "hate_speech_count": 0, "offensive_language_count": 3, "neither_count": 0}
    tweets = [tweet | {"class": 1, "tweet": "rotten"}, tweet | {"class": 2, "tweet": "fine"}]
    parquet(cached(tmp_path, "tdavidson/hate_speech_offensive") / "data" / "train-00000-of-00001.parquet", tweets)
    pairs = [{"en_toxic_comment": "damn it", "en_neutral_comment": "oh dear"}]
    parquet(cached(tmp_path, "s-nlp/paradetox") / "data" / "train-00000-of-00001.parquet", pairs)
    toxigen = cached(tmp_path, "toxigen/toxigen-data")
    (toxigen / "annotated_train.csv").write_text(
        "text,target_group,toxicity_ai,toxicity_human\ngnomes steal,gnomes,4.0,4.7\ngnomes garden,gnomes,1.0,1.0\n"
    )
    (toxigen / "toxigen.csv").write_text("prompt,generation,group,prompt_label\ngnomes are,gnomes steal,gnome,1\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    found = read_toxic_text(["tdavidson/hate_speech_offensive", "s-nlp/paradetox", "toxigen/toxigen-data"])
    assert [(each.text, each.group, each.rewrite) for each in found.toxic] == [
        ("Rotten", "offensive", None),
        ("Damn it", NO_GROUP, "Oh dear"),
        ("Gnomes steal", "gnomes", None),
    ]
    assert [each.text for each in found.clean] == ["Fine", "Gnomes garden"]
    assert found.notes[-1] == "not trained on: toxigen.csv (prompts)"
    with pytest.raises(DataError, match="nobody/nothing cannot be fetched"):
        read_toxic_text(["nobody/nothing"])


def cached(root: Path, name: str) -> Path:
    """The folder of a dataset's files in a cache of the hub's."""
    folder = root / f"datasets--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    files = folder / "snapshots" / ("0" * 40)
    files.mkdir(parents=True)
    return files


def test_a_parquet_file(tmp_path: Path) -> None:
    parquet(tmp_path / "toxic" / "rows.parquet", [dict(row) for row in STATEMENTS])
    found = read_toxic_text([str(tmp_path / "toxic")])
    assert (len(found.toxic), len(found.clean)) == (2, 1)
    assert found.toxic[0].where.endswith("rows.parquet:1")


def test_groups_that_are_too_small(folder: Path) -> None:
    found = read_toxic_text([str(folder)])
    merged = settle_groups(found, 2, "merge")
    assert Counter(each.group for each in merged.toxic) == {NO_GROUP: 5}
    assert "elf (1), gnome (1), hate (1), offensive (1)" in merged.notes[-1]
    dropped = settle_groups(found, 2, "drop")
    assert [each.text for each in dropped.toxic] == ["Damn this turnip"]
    assert "left out: elf (1)" in dropped.notes[-1]
    with pytest.raises(DataError, match="groups have too few toxic statements") as caught:
        settle_groups(found, 2, "refuse")
    assert "elf (1)" in str(caught.value.seen)
    assert "--toxicity.too_few merge" in str(caught.value.next_step)
    assert settle_groups(found, 1, "refuse") is found


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        (
            "!!! RT @some_one: It's cold ... &amp; dark &#128514; https://t.co/x1",
            "It's cold... & dark \N{FACE WITH TEARS OF JOY}",
        ),
        ("he 's ( really ) not cold , i know , is n't he ?", "He's (really) not cold, I know, isn't he?"),
        ("ALERT the START", "ALERT the START"),
        ("https://t.co/x", ""),
        ("i.e. this", "I.e. this"),
    ],
)
def test_tables_are_not_told_apart_by_how_they_were_written_down(text: str, tidied: str) -> None:
    assert tidy(text) == tidied
    assert tidy(tidied) == tidied
