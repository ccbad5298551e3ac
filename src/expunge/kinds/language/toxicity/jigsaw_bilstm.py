"""The six-label classifier of the Jigsaw 2018 challenge from the wheel `tox-block`, run in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from expunge.core import storage
from expunge.kinds.language.toxicity.jigsaw_files import VOCABULARY, WEIGHTS

LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
LENGTH = 100
"tokens that the network reads: the last ones of a longer text; a shorter one is padded in front"
FILTERED = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"characters that separate words, in addition to the space (of Keras' tokenizer, with which it was trained)"
BATCH = 512
UNITS = 50


class JigsawBiLSTM:
    r"""Embedding, one LSTM in each direction, maximum over time, a hidden layer, six sigmoids.

    $$ i, f, o = \mathrm{clip}(0.2 (x W + h U + b) + 0.5, 0, 1) \qquad
       c \leftarrow f c + i \tanh(x W_g + h U_g + b_g) \qquad h \leftarrow o \tanh(c) $$

    The maximum runs over padding too, which is most of a short text. It has to be computed, but not for every text:
    forwards the padding comes first, and the states after it are the same for all texts with the same amount.
    Backwards it comes last and begins from the text's own state; only its input is the same at every step.

    Args:
        weights: named as in `jigsaw_files.PLACES`, in float32 (or float64, to check it against).
        vocabulary: token number -> word, from number 1 on.
    """

    def __init__(self, weights: Mapping[str, Tensor], vocabulary: Sequence[str]) -> None:
        self.numbers = {word: number for number, word in enumerate(vocabulary) if number}
        self.separators = str.maketrans(FILTERED, " " * len(FILTERED))
        self.dense = (weights["dense.weight"], weights["dense.bias"])
        self.labels_layer = (weights["labels.weight"], weights["labels.bias"])
        with torch.inference_mode():
            self.forward, self.backward = (_Direction(weights, name) for name in ("forward", "backward"))
            self.padded = _padding_states(self.forward)

    @classmethod
    def load(cls, folder: Path) -> JigsawBiLSTM:
        return cls(load_file(folder / WEIGHTS), storage.read_json(folder / VOCABULARY))

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text, at most `LENGTH`; unknown words are dropped."""
        words = text.lower().translate(self.separators).split(" ")
        return [self.numbers[word] for word in words if word in self.numbers][-LENGTH:]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) probability that a text is toxic."""
        return self.labels(texts)[:, 0]

    @torch.inference_mode()
    def labels(self, texts: Sequence[str]) -> np.ndarray:
        """(n, 6) probability of each of `LABELS`, in float32."""
        encoded = [self.encode(text) for text in texts]
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
        found = np.empty((len(encoded), len(LABELS)), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            found[chosen] = self._probabilities([encoded[i] for i in chosen]).numpy()
        return found

    def _probabilities(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(rows, 6) of token rows, the longest first."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), LENGTH, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, LENGTH - len(row) :] = torch.tensor(row, dtype=torch.long)
        pooled = torch.cat([self._read_forward(ids, lengths), self._read_backward(ids, lengths)], 1)
        hidden = torch.addmm(self.dense[1], pooled, self.dense[0]).relu_()
        return torch.addmm(self.labels_layer[1], hidden, self.labels_layer[0]).sigmoid_().float()

    def _read_forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """(rows, units) maximum over time; each row joins at the end of its padding."""
        h, c, most = (state[LENGTH - lengths] for state in self.padded)
        longest = int(lengths[0])
        for time in range(LENGTH - longest, LENGTH):
            here = int((lengths >= LENGTH - time).sum())
            self.forward.step(ids[:here, time], h[:here], c[:here], most[:here])
        return most

    def _read_backward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """(rows, units) maximum over time."""
        h = ids.new_zeros(len(ids), UNITS, dtype=self.dense[0].dtype)
        c, most = torch.zeros_like(h), torch.full_like(h, -1.0)
        padding = ids.new_zeros(1)
        for time in range(LENGTH - 1, -1, -1):
            words = ids[:, time] if time >= LENGTH - int(lengths[0]) else padding
            self.backward.step(words, h, c, most)
        return most


class _Direction:
    """One LSTM. Embedding times kernel is computed once for the whole vocabulary, including the gates' 0.2 x + 0.5."""

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        kernel, recurrent, bias = (weights[f"{name}.{part}"] for part in ("kernel", "recurrent", "bias"))
        # Keras keeps the gates as i, f, g, o; with g last, the clipped ones are contiguous.
        i, f, g, o = torch.arange(4 * UNITS).split(UNITS)
        order = torch.cat([i, f, o, g])
        scale = torch.ones(4 * UNITS, dtype=kernel.dtype)
        scale[: 3 * UNITS] = 0.2
        shift = torch.zeros_like(scale)
        shift[: 3 * UNITS] = 0.5
        self.inputs = weights["embedding"] @ (kernel[:, order] * scale) + bias[order] * scale + shift
        self.recurrent = (recurrent[:, order] * scale).contiguous()

    def step(self, words: Tensor, h: Tensor, c: Tensor, most: Tensor) -> None:
        """One step in place: states (rows, units) after `words` ((rows,) token numbers, or one for all rows)."""
        a = torch.addmm(self.inputs[words], h, self.recurrent)
        gates, candidate = a[:, : 3 * UNITS].clamp_(0.0, 1.0), a[:, 3 * UNITS :].tanh_()
        i, f, o = gates.split(UNITS, 1)
        c.mul_(f).addcmul_(i, candidate)
        torch.mul(o, c.tanh(), out=h)
        torch.maximum(most, h, out=most)


def _padding_states(direction: _Direction) -> tuple[Tensor, Tensor, Tensor]:
    """h, c and the maximum over time, (LENGTH + 1, units) each: after that many steps of padding."""
    h = direction.inputs.new_zeros(1, UNITS)
    c, most = torch.zeros_like(h), torch.full_like(h, -1.0)
    after = [(h.clone(), c.clone(), most.clone())]
    for _ in range(LENGTH):
        direction.step(torch.zeros(1, dtype=torch.long), h, c, most)
        after.append((h.clone(), c.clone(), most.clone()))
    states = [torch.cat(column) for column in zip(*after, strict=True)]
    return states[0], states[1], states[2]
