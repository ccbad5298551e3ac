"""Tables of cells: text out of CSV and TSV, and quotation marks that are text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case

from expunge.data.text.delimited import read_delimited
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.errors import DataError
from expunge.kinds.language.toxicity.toxic_text import read_toxic_text

TWEETS = "class\ttweet\n" + "".join(
    f"{number % 3}\t{text}\n"
    for number, text in enumerate(
        ['"so he says', "a plain one", '"never" said I', 'he said "no"', 'and so on"', "the last of them"] * 12
    )
)
"72 rows, in which a mark of quotation is opened and never closed"


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def documents(name: str, content: str) -> Callable[[Path], Any]:
    def use(folder: Path) -> Any:
        notes = Notes()
        found = list(read_documents(write(folder, name, content), notes))
        return (
            [(each.prompt, each.text) for each in found],
            [int(each.source.rpartition(":")[2]) for each in found],
            notes,
        )

    return use


def says(*expected: tuple[str | None, str], lines: list[int] | None = None, noted: str = "") -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert came[0] == list(expected)
        assert lines is None or came[1] == lines
        assert noted in "\n".join(came[2].lines())

    return check


def cells(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: read_delimited(write(folder, name, content))


def rows(*expected: list[str], noted: str = "") -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert [list(row) for row in zip(*came.cells.values(), strict=True)] == list(expected)
        assert noted in "\n".join(came.notes)

    return check


def toxic(folder: Path) -> Any:
    write(folder, "tweets.tsv", TWEETS)
    return read_toxic_text([str(folder)])


def no_row_swallowed(came: Any) -> None:
    assert len(came.toxic) + len(came.clean) == 72
    assert max(len(each.text) for each in came.toxic) < 20
    assert any("tweets.tsv: quotation marks" in note for note in came.notes)
    assert "statements read: tweets.tsv 72" in came.notes


def labels(folder: Path) -> Any:
    return read_delimited(write(folder, "labels.tsv", 'path\tname\na.png\t"Bob\nb.png\tAl"\n'))


def two_labels(came: Any) -> None:
    assert came.cells == {"path": ["a.png", "b.png"], "name": ['"Bob', 'Al"']}
    assert came.lines == [2, 3]
    assert came.notes


CASES = [
    Case(
        what="CSV with cells that are empty",
        use=documents("a.csv", "id,text\n1,Holmes\n2,\n3,   \n4,Watson\n"),
        expect=says((None, "Holmes"), (None, "Watson"), noted="rows left out, since their field text is empty: 2"),
    ),
    Case(
        what="CSV with text",
        use=documents("a.csv", 'id,text\n1,"Fog, thick\nand ""grey"""\n2,Holmes\n'),
        expect=says(
            (None, 'Fog, thick\nand "grey"'), (None, "Holmes"), lines=[3, 4], noted="rows of tables, read from text: 2"
        ),
    ),
    Case(
        what="CSV as Excel writes it in Europe",
        use=documents("a.csv", "\ufeffNr;Text\r\n1;Nebel, dicht\r\n"),
        expect=says((None, "Nebel, dicht")),
    ),
    Case(
        what="CSV with questions",
        use=documents("a.csv", "Question,Answer\nWho?,Me\n"),
        expect=says(("Who?", "Me")),
    ),
    Case(
        what="CSV with prompts",
        use=documents("a.csv", "prompt,completion\nWho?,Me\n"),
        expect=says(("Who?", "Me")),
    ),
    Case(
        what="CSV with a column of content", use=documents("a.csv", "id,content\n1,Fog\n"), expect=says((None, "Fog"))
    ),
    Case(
        what="a table called text",
        use=documents("a.txt", "id\ttext\tlabel\n1\tFog\tx\n2\tRain\ty\n"),
        expect=says((None, "Fog"), (None, "Rain"), noted="a table, whatever its ending says"),
    ),
    Case(
        what="a table without text",
        use=documents("a.csv", "id,price\n1,2\n"),
        refused=DataError,
        says=("a.csv", "the columns id, price", "--columns text=price"),
    ),
    Case(
        what="a table without text called text",
        use=documents("a.txt", "id,name,age\n1,Al,2\n2,Bo,3\n3,Cy,4\n"),
        refused=DataError,
        says=("a.txt", "the columns id, name, age"),
    ),
    Case(
        what="a row too short",
        use=documents("a.csv", "id,text\n1,Fog\n2\n"),
        refused=DataError,
        says=("a.csv:3 has 1 cell", "2, as in the header"),
    ),
    Case(
        what="empty cells alone",
        use=documents("a.csv", "id,text\n1,\n2,\n"),
        refused=DataError,
        says=("a.csv is empty", "their field text is empty: 2"),
    ),
    Case(what="toxic tweets with marks that are text", use=toxic, expect=no_row_swallowed),
    Case(what="labels of pictures with marks that are text", use=labels, expect=two_labels),
    Case(
        what="TSV with a mark at the beginning of one cell",
        use=cells("a.tsv", 'id\ttext\n1\t"Fog\n2\tRain\n3\tand "all\n4\tthat"\n'),
        expect=rows(["1", '"Fog'], ["2", "Rain"], ["3", 'and "all'], ["4", 'that"'], noted="are text"),
    ),
    Case(
        what="TSV with a whole cell in marks that are text",
        use=cells("a.tsv", 'id\ttext\n1\t"Fog"\n2\tRain\n'),
        expect=rows(["1", '"Fog"'], ["2", "Rain"]),
    ),
    Case(
        what="TSV as Excel writes it",
        use=cells("a.tsv", 'id\ttext\n1\t"He said ""Fog"""\n2\tRain\n'),
        expect=rows(["1", 'He said "Fog"'], ["2", "Rain"]),
    ),
    Case(
        what="TSV with every cell quoted",
        use=cells("a.tsv", '"id"\t"text"\n"1"\t"Fog"\n"2"\t"Rain"\n'),
        expect=rows(["1", "Fog"], ["2", "Rain"]),
    ),
    Case(
        what="TSV with a line break in a quoted cell",
        use=cells("a.tsv", 'id\ttext\n1\t"Fog\nand rain"\n2\tRain\n'),
        expect=rows(["1", "Fog\nand rain"], ["2", "Rain"], noted="cells with line breaks in them: 1"),
    ),
    Case(
        what="TSV in which a mark swallows rows that others need",
        use=cells("a.tsv", 'id\ttext\n1\t"Fog\nand rain"\n2\t"oh\n3\tb\n4\tc"\n'),
        refused=DataError,
        says=("a.tsv:6", "swallows whole rows", "next:"),
    ),
    Case(
        what="CSV whose quotes are text",
        use=cells("a.csv", 'id,text\n1,"Fog" he said\n2,Rain\n'),
        expect=rows(["1", '"Fog" he said'], ["2", "Rain"], noted="are text"),
    ),
    Case(
        what="CSV with a mark that is never closed",
        use=cells("a.csv", 'id,text\n1,"Fog\n2,Rain\n'),
        refused=DataError,
        says=("a.csv:", "is not CSV"),
    ),
    Case(
        what="a cell as long as a book",
        use=cells("a.csv", "id,text\n1," + "fog " * 50_000 + "\n"),
        expect=rows(["1", "fog " * 50_000], noted="a.csv:2 has a cell of 200,000 characters"),
    ),
]
