"""What the source never does: run code that comes with a model, unpickle, construct objects from YAML, use a shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import expunge

SOURCE = Path(expunge.__file__).parent
AUTOMATIC = {"AutoConfig", "AutoModelForCausalLM", "AutoTokenizer", "AutoModel"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(place, what is called, the call) of every call in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", ast.unparse(node.func), node


def test_code_of_a_model_is_always_refused() -> None:
    loading = [
        (place, call)
        for place, function, call in calls()
        if function.endswith(".from_pretrained") and function.split(".")[0] in AUTOMATIC
    ]
    assert len(loading) > 3
    for place, call in loading:
        given = {word.arg: word.value for word in call.keywords}
        assert ast.unparse(given["trust_remote_code"]) == "False", place


def test_trust_is_given_nowhere() -> None:
    found = [place for place, _, call in calls() for word in call.keywords if word.arg == "trust_remote_code"
             and ast.unparse(word.value) != "False"]  # fmt: skip
    assert found == []
    names = [path for path in SOURCE.rglob("*") if path.suffix in (".py", ".json", ".yaml", ".jinja")]
    assert not [path for path in names if '"trust_remote_code": true' in path.read_text(encoding="utf-8").lower()]


@pytest.mark.parametrize(
    "forbidden",
    ["pickle", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system",
     "os.popen", "joblib", "marshal", "shelve", "compile", "input"],
)  # fmt: skip
def test_it_is_never_called(forbidden: str) -> None:
    found = [place for place, function, _ in calls() if function == forbidden or function.startswith(f"{forbidden}.")]
    assert found == []


def test_one_file_alone_knows_pickles_and_reads_them_as_records() -> None:
    found = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if "import pickle" in path.read_text()]
    assert found == ["kinds/language/toxicity/jigsaw_files.py"]


def test_no_shell_and_no_pickled_arrays() -> None:
    for place, function, call in calls():
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("shell", "False") == "False", place
        if function in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") == "False", place
