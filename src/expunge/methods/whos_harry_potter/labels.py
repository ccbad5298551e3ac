"""Generic labels: the predictions, at each position of the target, of a model that never read it.

Eldan and Russinovich 2023 (arXiv:2310.02238), section 2. For a block of the target:

1. its anchored terms are translated; the base model reads the translated text, the reinforced model the original;
2. positions of the two are matched if both have read up to the same place (character offsets); others are left out;
3. `v = base(translated) - alpha * relu(reinforced(original) - base(translated))`;
4. logits of translations that the block has shown already are lowered (the original never says them);
5. from its second appearance in the block on, an anchor's own tokens leave the loss;
6. the label of token t + 1 is the argmax of v at t (or its top k, as soft labels).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expunge.data.text.token_stream import Encoder, token_ends
from expunge.kinds.language.blocks import Block
from expunge.kinds.language.measures.familiarity import begins, first_tokens
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.terms.anchors import AnchorDictionary, Match, Translation
from expunge.methods.whos_harry_potter.method import WhosHarryPotter
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from expunge.train.step import IGNORED, Batch

Offsets = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of one block: `hard` (tokens,), and with top k, `soft_ids` and `soft_weights` (tokens, k)."""

    hard: np.ndarray
    soft_ids: np.ndarray | None = None
    soft_weights: np.ndarray | None = None


def align(
    offsets: Offsets, translated: Offsets, translation: Translation, first_label: int, ends_turn: bool = False
) -> list[tuple[int, int]]:
    """Pairs (i, j): source position i and translated position j have read up to the same place.

    i runs over positions whose *next* token may carry a label. A position whose last character lies inside a translated
    term, inside a character split over tokens, or at no token's end on the other side has no partner. With `ends_turn`
    the last token covers no characters, but the end of an answer, which is predicted like any other token.
    """
    ends = {end: j for j, (_, end) in enumerate(translated)}  # of tokens that end together, the last has read all
    pairs = []
    for i in range(max(0, first_label - 1), len(offsets) - 1):
        end = offsets[i][1]
        if offsets[i + 1][1] == end and not (ends_turn and i == len(offsets) - 2):
            continue
        mapped = translation.to_translated(end)
        if mapped is not None and mapped in ends:
            pairs.append((i, ends[mapped]))
    return pairs


def repeated_tokens(offsets: Offsets, text: str, matches: Sequence[Match]) -> set[int]:
    """Indices of tokens that belong to an anchor's word which an earlier anchor of the block has shown already.

    By word, so that "Potter" after "Harry Potter" counts as repeated, and of "Harry Potter" after "Harry" only "Harry".
    """
    seen: set[str] = set()
    anchors: set[str] = set()
    spans: list[tuple[int, int]] = []
    for match in matches:
        if match.anchor.term in anchors:
            spans.append((match.start, match.end))  # in another form too: "the Weasleys" after "Weasley"
        anchors.add(match.anchor.term)
        words = [
            (match.start + word.start(), match.start + word.end(), word.group().lower())
            for word in re.finditer(r"\w+", text[match.start : match.end])
        ]
        spans += [(start, end) for start, end, word in words if word in seen]
        seen |= {word for _, _, word in words}
    return {i for i, (start, end) in enumerate(offsets) if any(start < stop and end > begin for begin, stop in spans)}


def shown_translations(matches: Sequence[Match], text: str, task: CausalLM) -> list[tuple[int, list[int]]]:
    """(source offset, token ids): from that offset on, these first tokens of a translation's new words are lowered.

    Both forms of each word, with and without a leading space; words that the source term has too are left alone.
    """
    shown = []
    cache: dict[str, list[int]] = {}
    for match in matches:
        old = set(re.findall(r"\w+", text[match.start : match.end].lower()))
        ids: list[int] = []
        for word in re.findall(r"\w+", match.translation_text):
            if word.lower() in old or len(word) < 2:
                continue
            if word not in cache:
                cache[word] = [token for token in first_tokens(task, word) if begins(task, token, word)]
            ids += cache[word]
        if ids:
            shown.append((match.end, ids))
    return shown


def combine(base: Tensor, reinforced: Tensor, alpha: float, compared: Tensor | None = None) -> Tensor:
    """Equation 1: `base - alpha * relu(reinforced - compared)`; `compared` is `base` in the paper's combined form.

    All (positions, vocabulary).
    """
    return base - alpha * torch.relu(reinforced - (base if compared is None else compared))


def rows_at(blocks: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Batch:
    """A batch of (ids, positions), with the tokens after the positions labelled, so that logits are made there."""
    width = max(len(ids) for ids, _ in blocks) + 1  # the last position may be requested too
    tokens = torch.zeros(len(blocks), width, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    for row, (ids, positions) in enumerate(blocks):
        tokens[row, : len(ids)] = torch.tensor(list(ids))
        labels[row, torch.tensor(list(positions), dtype=torch.long) + 1] = 0
    lengths = torch.tensor([len(ids) for ids, _ in blocks])
    return Batch(ids=tokens, labels=labels, lengths=lengths, normaliser=1.0)


def _ends_turn(block: Block, task: CausalLM) -> bool:
    """Whether the last token is the one that ends an answer: a control token, which text never becomes."""
    start, end = block.offsets[-1]
    token = task.tokenizer.added_tokens_decoder.get(block.ids[-1])
    return start == end and (block.ids[-1] == task.tokenizer.eos_token_id or (token is not None and token.special))


def _logits_at(task: CausalLM, blocks: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
    """For each (ids, positions): (positions, vocabulary) logits. Positions ascend."""

    def logits() -> list[Tensor]:
        sizes = [len(positions) for _, positions in blocks]
        return list(task.row_logits(rows_at(blocks)).split(sizes)) if blocks else []

    return task.in_turns(logits)


def generic_labels(
    blocks: Sequence[Block], reinforced: Reinforced, dictionary: AnchorDictionary, method: WhosHarryPotter
) -> list[Labels]:
    """Labels of blocks; `IGNORED` where a position has no partner, no label, or repeats an anchor.

    All processes that hold a part of the models call this together, each with blocks of its own, or none.

    Without autocast: alpha multiplies the rounding error of the difference of two models.
    """
    task = reinforced.base.exact()
    translations = [dictionary.translate(block.text) for block in blocks]
    matches = [dictionary.find(block.text) for block in blocks]
    originals: list[tuple[list[int], list[int]]] = []
    translated: list[tuple[list[int], list[int]]] = []
    for block, translation, found in zip(blocks, translations, matches, strict=True):
        ids, offsets = _encode_like(block, translation, task)
        skipped = repeated_tokens(block.offsets, block.text, found)
        pairs = align(block.offsets, offsets, translation, max(1, block.first_label), _ends_turn(block, task))
        pairs = [(i, j) for i, j in pairs if i + 1 not in skipped]
        originals.append((block.ids, [i for i, _ in pairs]))
        translated.append((ids, [j for _, j in pairs]))
    base = _logits_at(task, translated)
    compared: Sequence[Tensor | None] = [None] * len(blocks)
    if method.form == "split":
        compared = _logits_at(task, originals)
    with reinforced.twin() as twin:
        strong = _logits_at(twin.exact(), originals)
    labels = []
    for number, block in enumerate(blocks):
        v_base, v_reinforced, v_compared = base[number], strong[number], compared[number]
        if method.normalise:
            v_base, v_reinforced = v_base.log_softmax(-1), v_reinforced.log_softmax(-1)
            v_compared = None if v_compared is None else v_compared.log_softmax(-1)
        generic = combine(v_base, v_reinforced, method.alpha, v_compared)
        here = originals[number][1]
        shown = shown_translations(matches[number], block.text, task)
        for row, i in enumerate(here):
            lowered = {token for offset, ids in shown if offset <= block.offsets[i][1] for token in ids}
            if lowered:
                generic[row, torch.tensor(sorted(lowered), device=generic.device)] -= method.translation_penalty
        labels.append(_as_labels(generic, here, len(block.ids), method.top_k))
    return labels


def _as_labels(generic: Tensor, positions: Sequence[int], length: int, k: int) -> Labels:
    """The label of token t + 1 is the argmax (or top k) of v at t."""
    hard = np.full(length, IGNORED, np.int64)
    soft_ids = np.zeros((length, k), np.int64) if k else None
    soft_weights = np.zeros((length, k), np.float32) if k else None
    if positions:
        targets = np.asarray(positions) + 1
        hard[targets] = generic.argmax(-1).cpu().numpy()
        if soft_ids is not None and soft_weights is not None:
            top = generic.softmax(-1).topk(k, dim=-1)
            soft_ids[targets] = top.indices.cpu().numpy()
            soft_weights[targets] = (top.values / top.values.sum(-1, keepdim=True)).cpu().numpy()
    return Labels(hard, soft_ids, soft_weights)


def _encode_like(block: Block, translation: Translation, task: CausalLM) -> tuple[list[int], Offsets]:
    """The translated text's tokens and offsets; a chat prompt's control tokens are kept as such."""
    encoder = Encoder(task.tokenizer)
    cut = translation.to_translated(block.offsets[block.first_label][0]) or 0
    before_text = next((i for i, (_, end) in enumerate(block.offsets) if end > 0), 0)
    ids = block.ids[:before_text]  # a token for the beginning, where the tokenizer adds one
    offsets = [(0, 0)] * len(ids)
    for text, start, control in ((translation.text[:cut], 0, True), (translation.text[cut:], cut, False)):
        if text:
            (encoding,) = encoder.encode([text], control_tokens=control)
            ends = [start + end for end in token_ends(encoding, len(text))]
            ids += encoding.ids
            offsets += list(zip([start, *ends[:-1]], ends, strict=True))
    return ids, offsets
