"""What is misspelt or missing is told before torch is imported, whose import takes seconds, and before a folder is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CASES = {
    "run demo --method npoo": "there is no method 'npoo'",
    "run demo --forget nofile.txt": "there is no file or folder nofile.txt",
    "run whos_harry_potter --forget nofile.txt": "there is no file or folder nofile.txt",
    "run whos_harry_potter --forget t.txt --retain nofile.txt": "there is no file or folder nofile.txt",
    "run whos_harry_potter --forget t.txt --holdout nofile.txt": "there is no file or folder nofile.txt",
    "run whos_harry_potter --forget t.txt --model ./none": "there is no model ./none",
    "run whos_harry_potter --forget t.txt --model empty": "empty is empty",
    "run whos_harry_potter --forget t.txt --model t.txt": "t.txt is a file, not a model folder",
    "run faces --data none": "there is no file or folder 'none'",
    "forget nofile.txt --out runs/a": "there is no file or folder nofile.txt",
    "forget t.txt --benchmarks none --out runs/a": "none",
    "forget t.txt --prompts none.jsonl --out runs/a": "none.jsonl",
    "forget t.txt --training.learning_rat 1 --out runs/a": "there is no field training.learning_rat",
    "inspect nofile.txt": "there is no file or folder nofile.txt",
    "inspect t.txt --budget soon": "'soon' is not a time",
    "plan whos_harry_potter --forget nofile.txt": "there is no file or folder nofile.txt",
    "sweep whos_harry_potter --forget nofile.txt --over seed=1,2": "there is no file or folder nofile.txt",
    "teach nofile.txt --keep t.txt --out runs/a": "there is no file or folder nofile.txt",
    "evaluate none": "none is not a run folder",
    "audit none": "none is not a run folder",
    "audit none --base ./a --forget t.txt --retain t.txt": "there is no model ./a",
    "audit none --base ./a --forget t.txt --retain t.txt --attacks relearn,quantise": "did you mean quantize?",
    "audit run --attacks corruption": "there is no attack 'corruption'",
    "audit pictures --attacks cloze": "there is no attack 'cloze'",
    "methods npoo": "there is no method 'npoo'",
}
CODE = """
import contextlib, io, sys
from expunge.cli import main
for line in sys.stdin.read().splitlines():
    command, _, said = line.partition("\\t")
    sys.argv = ["expunge", *command.split()]
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            main()
        except SystemExit as left:
            code = left.code
    assert code in (1, 2) and said in told.getvalue(), (command, code, told.getvalue())
    heavy = {"torch", "transformers", "peft", "datasets"} & set(sys.modules)
    assert not heavy, (command, heavy)
"""


def test_what_is_missing_is_told_before_torch_is_imported_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Sherlock Holmes lived in Baker Street.\n")
    (tmp_path / "empty").mkdir()
    for name, recipe in {
        "run": "forget: t.txt\n",
        "pictures": "task: image_classifier\ndata: none\nforget: random:2\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(recipe)
    lines = "\n".join(f"{command}\t{said}" for command, said in CASES.items())
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=lines, text=True, capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "pictures", "run", "t.txt"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.yaml"]
