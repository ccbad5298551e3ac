"""The command line: exit codes, help, and one clear message for every mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.runs.registry import built_in, method_class
from fork_server import Commands, Ended
from said import Said, Type
from small import SMALL, as_options, write_texts

VERBS = ("init", "forget", "inspect", "run", "sweep", "plan", "teach", "evaluate", "audit", "compare", "report", "verify",
         "sign", "request", "clean", "publish", "methods", "recipes", "doctor", "app")  # fmt: skip
START = [sys.executable, "-c", "from expunge.cli import main; main()"]


# Help


def shown(out: str) -> str:
    """Help without its frame and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())


def cpu_seconds(code: str) -> float:
    """What a new Python takes to run some code."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_needs_little_time_and_no_torch() -> None:
    code = (
        "import sys\nsys.argv = ['expunge', '--help']\nfrom expunge.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    seconds = min(cpu_seconds(code) for _ in range(3))
    empty = (
        "import cyclopts\ntry:\n    cyclopts.App(help='*x*', help_format='markdown')(['--help'])\n"
        "except SystemExit:\n    pass"
    )
    library = min(cpu_seconds(empty) for _ in range(3))
    # In CPU time, in the program and in the system. A slow machine needs longer for the library, too.
    assert seconds < 1.5 * library, f"{seconds} s, where the help of a program without commands needs {library} s"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_verbs(words: tuple[str, ...], typed: Type) -> None:
    said = typed(*words)
    assert said.code == 0
    for verb in VERBS:
        assert re.search(rf"^│ {verb} ", said.out, re.MULTILINE), verb
    assert 'expunge forget "Harry Potter"' in shown(said.out)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_an_example(verb: str, typed: Type) -> None:
    said = typed(verb, "--help")
    assert said.code == 0
    text = shown(said.out)
    assert f"expunge {verb}" in text.removeprefix(f"Usage: expunge {verb}")
    assert len(said.out.splitlines()) > 5


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        ("init", "[OPTIONS] [OUT]"),
        ("compare", "[OPTIONS] RUNS..."),
        ("sign", "[OPTIONS] [RUN]"),
        ("methods", "[OPTIONS] [NAME]"),
        ("app", "[OPTIONS] [RUNS]"),
        ("request run", "[OPTIONS] [ID...]"),
        ("request add", "--subject STR [OPTIONS] FILES..."),
        ("verify", "[OPTIONS] RUN"),
    ],
)
def test_help_names_the_arguments_that_may_be_left_out(verb: str, wanted: str, typed: Type) -> None:
    assert typed(*verb.split(), "--help").out.splitlines()[0].strip() == f"Usage: expunge {verb} {wanted}"


def test_version(typed: Type) -> None:
    from expunge import __version__

    assert typed("--version") == Said(0, f"{__version__}\n", "")


# Mistakes


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("forgt", "x"), ["forgt", "forget"]),
        (("forget", "x"), ["--out"]),
        (("forget",), ["TARGET"]),
        (("compare", "a", "--uot", "b.html"), ["--uot", "--out"]),
        (("verify",), ["RUN"]),
        (("verify", "a", "b"), ["b"]),
        (("teach", "a.txt", "--keep", "b.txt", "--out", "o", "--tokens", "many"), ["--tokens", "many"]),
        (("forget", "x", "--out", "o", "stray"), ["unexpected argument 'stray'", "several targets"]),
        (("forget", "x", "--out", "o", "--seed"), ["the option --seed has no value", "--seed VALUE"]),
        (("forget", "x", "--out", "o", "--training.lerning_rate", "1"), ["no field training.lerning_rate",
                                                                        "did you mean learning_rate?"]),
        (("forget", "x", "--out", "o", "--retian", "r"), ["no field retian", "did you mean retain?"]),
        (("forget", "x", "--out", "o", "--traning.max_steps", "3"), ["no field traning", "did you mean training?"]),
        (("forget", "x", "--out", "o", "--training.max_steps", "few"), ["training.max_steps is not right", "'few'"]),
        (("forget", "x", "--out", "o", "--training.max_steps", "0"), ["training.max_steps is not right", "greater than 0"]),
        (("forget", "x", "--out", "o", "--save_dtype", "int8"), ["save_dtype is not right", "'bfloat16'"]),
        (("forget", "x", "--out", "o", "--method", "gradient_accent"), ["no method 'gradient_accent'",
                                                                      "did you mean gradient_ascent?"]),
        (("forget", "x", "--out", "o", "--method.alhpa", "1"), ["no field alhpa", "did you mean alpha?"]),
        (("forget", "x", "--out", "o", "--method.alpha", "-1"), ["alpha is not right", "greater than or equal to 0"]),
        (("methods", "fine_tun"), ["no method 'fine_tun'", "did you mean fine_tune?"]),
        (("run", "missing.yaml"), ["there is no recipe missing.yaml"]),
        (("compare", "a"), ["nothing to compare", "two or more"]),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_in_one_message(
    words: tuple[str, ...], parts: list[str], typed: Type, tmp_path: Path
) -> None:
    said = typed(*words)
    assert said.code == 2
    for part in parts:
        assert part in shown(said.out + said.err), part
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("forget: x\nlerning_rate: 1\n", ["recipe.yaml: there is no field lerning_rate"]),
        ("forget: x\ntraining:\n  max_stesp: 1\n", ["no field training.max_stesp", "did you mean max_steps?"]),
        ("model: x\n", ["the field forget is missing", "--forget"]),
        ("forget: [\n", ["recipe.yaml is not valid YAML"]),
        ("- forget\n", ["must hold a mapping of fields", "list"]),
        ("", ["must hold a mapping of fields"]),
    ],
)
def test_a_recipe_that_is_not_right(content: str, parts: list[str], typed: Type, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    said = typed("run", "recipe.yaml", "--out", "o")
    assert said.code == 2
    assert said.err.startswith("expunge: ")
    for part in parts:
        assert part in said.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("report", "nowhere"), ["nowhere is not a run folder", "expunge forget TARGET --out runs/NAME"]),
        (("verify", "nowhere"), ["nowhere is not a run folder: it does not exist"]),
        (("evaluate", "nowhere"), ["nowhere is not a run folder"]),
        (("compare", "nowhere", "elsewhere"), ["nowhere is not a run folder"]),
        (("forget", "x", "--model", "smollm2-135n", "--out", "o"), ["did you mean the starter model smollm2-135m?"]),
        (("forget", "x", "--model", "a.gguf", "--out", "o"), ["a.gguf is a GGUF file", "give the model"]),
        (("forget", "x", "--model", "empty", "--out", "o"), ["empty is empty", "check the path"]),
        (("forget", "books/on.txt", "--model", "MODEL", "--out", "o"), ["there is no file or folder books/on.txt",
                                                                     "did you mean books/one.txt?"]),
        (("forget", "", "--model", "MODEL", "--out", "o"), ["the target is empty"]),
        (("forget", "bad.jsonl", "--model", "MODEL", "--out", "o"), ["bad.jsonl:2 has no text to read", "fields body"]),
        (("forget", "latin.txt", "--model", "MODEL", "--out", "o"), ["latin.txt:1 is not UTF-8", "iconv"]),
        (("forget", "a.gguf", "--model", "MODEL", "--out", "o"), ["a.gguf is a binary file"]),
        (("forget", "blank.txt", "--model", "MODEL", "--out", "o"), ["blank.txt is empty"]),
        (("forget", "short.txt", "--model", "MODEL", "--out", "o"), ["short.txt is too short", "tokens"]),
        (("forget", "books/one.txt", "--retain", "books/one.txt", "--model", "MODEL", "--out", "o"),
         ["the retain set is the target"]),
        (("forget", "books/one.txt", "--retain", "no.txt", "--model", "MODEL", "--out", "o"),
         ["there is no file or folder no.txt"]),
        (("forget", "owner/name", "--model", "MODEL", "--out", "o"), ["owner/name"]),
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_right_is_named(
    words: tuple[str, ...], parts: list[str], typed: Type, tmp_path: Path, tiny_model_folder: Path
) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "books" / "one.txt").write_text("It was a dark night. " * 60)
    (tmp_path / "a.gguf").write_bytes(b"GGUF\0\1\2\3" * 10)
    (tmp_path / "bad.jsonl").write_text('{"text": "good enough to be read"}\n{"body": "x"}\n')
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "short.txt").write_text("No.")
    said = typed(*(str(tiny_model_folder) if word == "MODEL" else word for word in words))
    assert said.code == 1
    assert said.err.count("expunge: ") == 1
    message = said.err[said.err.index("expunge: ") :]
    assert 1 <= len(message.splitlines()) <= 4
    for part in parts:
        assert part in message, message
    assert not (tmp_path / "o" / "model").exists()


def test_a_topic_of_two_words_wants_quotes(typed: Type) -> None:
    said = typed("forget", "Harry", "Potter", "--out", "o")
    assert said.code == 2
    assert "unexpected argument 'Potter'" in said.err
    assert "in quotes" in said.err


# Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_are_imported_leaves_without_a_traceback(number: signal.Signals) -> None:
    code = (
        "import contextlib, os, sys\n"
        "class Signalling:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            with contextlib.suppress(BaseException):\n"  # as libraries do
        f"                os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Signalling())\n"
        "sys.argv = ['expunge', 'forget', 'Harry Potter', '--out', 'never']\n"
        "from expunge.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130
    assert done.stderr == "expunge: interrupted\n"


@pytest.mark.parametrize("buffering", [(), ("-u",)])
def test_who_stops_reading_is_no_error(buffering: tuple[str, ...]) -> None:
    """At the first line that nobody reads, and at the end, where all of it is still in the buffer."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [START[0], *buffering, *START[1:], "recipes"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


# Verbs that need no run


def test_methods_are_listed(typed: Type) -> None:
    said = typed("methods")
    assert (said.code, said.err) == (0, "")
    head, *lines, _, more = said.out.splitlines()
    assert more.endswith("Each in full: expunge methods NAME")
    assert head.split() == ["method", "works", "on", "what", "it", "is"]
    assert [line.split()[0] for line in lines] == built_in()
    assert all(len(line.split()) > 5 for line in lines)
    start, end = head.index("works on"), head.index("what it is")
    table = {line.split()[0]: line[start:end].strip() for line in lines}
    assert table["whos_harry_potter"] == "language"
    assert table["scrub"] == "images"
    assert table["sisa"] == "sharded"
    assert table["encoder_scrubbing"] == "generators"
    both = ("npo", "simnpo", "jensun", "gradient_ascent", "fine_tune")
    assert {table[name] for name in both} == {"language, images"}


@pytest.mark.parametrize("name", built_in())
def test_one_method_is_shown(name: str, typed: Type) -> None:
    said = typed("methods", name)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"{name}\n\n")
    assert method_class(name).citation()[:40] in said.out
    assert "$$" not in said.out
    end = said.out.partition("\nworks on: ")[2]
    assert "forget set: " in end
    assert not re.search(r"\b(True|False|None)\b", end)
    for field, info in method_class(name).model_fields.items():
        default = "none" if info.default is None else info.default
        assert f"--method.{field} (default {default})\n    {info.description}" in said.out


def test_which_models_a_method_is_for(typed: Type) -> None:
    assert "works on: image classifiers\n" in typed("methods", "scrub").out
    assert "works on: language models, image classifiers\n" in typed("methods", "npo").out
    assert "--method.alpha (default 5.0)" in typed("methods", "whos_harry_potter").out


def test_doctor(typed: Type) -> None:
    said = typed("doctor")
    assert said.code == (1 if "warning: less than" in said.out else 0)
    names = [line.split()[0] for line in said.out.splitlines()]
    for name in ("python", "torch", "transformers", "device", "bfloat16", "memory", "cache", "starter", "hub"):
        assert name in names, name
    assert "switched off (HF_HUB_OFFLINE)" in said.out


# A run, as it is typed, in a process of its own


@pytest.fixture(scope="module")
def place(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    write_texts(folder)
    (folder / "tiny").symlink_to(tiny_model_folder)
    return folder


@pytest.fixture(scope="module")
def first(place: Path, commands: Commands) -> Ended:
    words = ["forget", "forget.txt", "--retain", "retain.txt", "--model", "tiny", "--method", "gradient_ascent"]
    return commands.run([*words, *as_options(SMALL), "--out", "runs/a"], place)


def test_a_run_says_plainly_what_it_does_and_what_came_out(first: Ended) -> None:
    assert first.code == 3, first.err  # the tiny model knows nothing that could be seen to go
    assert "\x1b" not in first.out + first.err
    assert "\r" not in first.out + first.err
    for line in first.err.splitlines():
        assert re.fullmatch(r".{42,} +\d+\.\d s", line), line
    for title in (
        "reading the forget set",
        "measuring the base model",
        "unlearning: gradient_ascent",
        "writing the report",
    ):
        assert title in first.err
    lines = first.out.splitlines()
    assert any(line.startswith(("Verdict: FAILED", "Verdict: not known well enough")) for line in lines)
    assert "Report: runs/a/report.html" in lines
    assert "Model:  runs/a/model" in lines
    header = next(line for line in lines if line.startswith("measure"))
    assert header.split() == ["measure", "split", "n", "before", "control", "after", "better", "is"]
    rows = [line.split()[0] for line in lines[lines.index(header) + 1 :][:6]]
    assert rows == ["familiarity_completion", "familiarity_probability", *["perplexity"] * 3, "general_knowledge"]
    assert any(re.match(r"  (passed|FAILED)  perplexity: [\d.]+ before, [\d.]+ after", line) for line in lines)


def test_the_verbs_after_a_run(first: Ended, place: Path, typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    said = typed("verify", "runs/a")
    assert said.code == 0
    assert {line[:11].strip() for line in said.out.splitlines()} == {"ok", "not checked"}
    assert "ok           model/model.safetensors has the recorded digest" in said.out
    assert "not checked  events.jsonl" in said.out
    assert typed("report", "runs/a") == Said(0, "runs/a/report.html\n", "")
    said = typed("compare", "runs/a", "runs/a")
    assert said.code == 0
    assert "Perplexity" in said.out
    said = typed("evaluate", "runs/a")
    assert said.code == 3
    assert "Verdict: not known well enough to measure forgetting" in said.out
    said = typed("evaluate", "tiny", "--recipe", "runs/a/recipe.yaml", "--out", "scores.json")
    assert said.code == 0
    header, *lines, last = said.out.splitlines()
    assert header.split() == ["measure", "split", "n", "value", "better", "is"]
    assert last == "Scores: scores.json"
    scores = json.loads((place / "scores.json").read_text())
    assert [line.split()[:3] for line in lines] == [[row["measure"], row["split"], str(row["n"])] for row in scores]
    assert len(scores) == 6
    (place / "runs" / "a" / "model" / "config.json").write_text("{}")
    said = typed("verify", "runs/a")
    assert said.code == 1
    assert "FAILED       model/config.json does not have the recorded digest" in said.out


@pytest.mark.parametrize("method", ["salun", "sisa", "encoder_scrubbing"])
def test_a_method_for_pictures_is_refused_before_anything_is_measured(typed: Type, method: str) -> None:
    Path("recipe.yaml").write_text("forget: Harry Potter\n", encoding="utf-8")
    for command in (("forget", "Harry Potter"), ("run", "recipe.yaml")):
        said = typed(*command, "--out", "run", "--method", method)
        assert said.code == 2
        assert f"the method {method} does not work on language models" in said.err
        assert not Path("run").exists()


# Names, and what is not text


@pytest.mark.parametrize(
    ("typed_name", "meant"),
    [("whp", "whos_harry_potter"), ("gradient_diff", "gradient_difference"), ("NPO", "npo"), ("scrubb", "scrub")],
)
def test_a_name_that_is_nearly_right_is_understood(typed: Type, typed_name: str, meant: str) -> None:
    said = typed("methods", typed_name)
    assert said.code == 2
    assert f"did you mean {meant}?" in said.err


def test_a_name_that_is_like_none_has_no_guess(typed: Type) -> None:
    assert "did you mean" not in typed("methods", "lobotomy").err


def test_methods_stand_in_columns(typed: Type) -> None:
    lines = typed("methods").out.splitlines()
    place = lines[0].index("what it is")
    for name, line in zip(built_in(), lines[1:], strict=False):
        assert line.startswith(f"{name} ")
        assert line[place - 1] == " "
        assert line[place] != " "
    assert "sharded" in next(line for line in lines if line.startswith("sisa"))


def test_pictures_have_recipes(typed: Type) -> None:
    Path("faces").mkdir()
    for number in range(3):
        Path(f"faces/{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    said = typed("forget", "faces", "--out", "runs/faces")
    assert said.code == 1
    assert "expunge run faces --data" in said.err
    assert not Path("runs/faces").exists()


@pytest.mark.parametrize("verb", [("forget", "Harry Potter"), ("run", "book.yaml")])
def test_a_run_is_not_written_among_other_files(typed: Type, verb: tuple[str, ...], tiny_model_folder: Path) -> None:
    Path("book.yaml").write_text(f"forget: Harry Potter\nmodel: {tiny_model_folder}\n")
    model = () if verb[0] == "run" else ("--model", tiny_model_folder)
    said = typed(*verb, *model, "--out", ".")
    assert said.code == 1
    assert "is not the folder of an earlier run, and not empty" in said.err
    assert "book.yaml" in said.err
    assert [path.name for path in Path(".").iterdir()] == ["book.yaml"]
    assert "is a file; a run writes a folder" in typed(*verb, *model, "--out", "book.yaml").err
