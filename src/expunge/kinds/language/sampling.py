"""Sampled continuations of many prompts: in batches, each prompt read once for all its samples.

Every (prompt, sample) has a stream of random numbers of its own, made from the seed, the prompt's tokens and the number
of the sample. So samples do not depend on the other prompts, or on batching, beyond
the rounding of the logits.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from expunge.kinds.language.chat import said as words_said
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling, left_padded
from expunge.models.beside import beside, cache_for

ROWS = 128
"continuations generated at once"
PREFILL = 16
"prompts in one prefill; they are sorted by length, so little of it is padding"
SORTED = (256, 4096)
"likeliest tokens sorted first; more only for rows whose nucleus is larger"


@dataclass(frozen=True, slots=True)
class Continuation:
    """A model's continuation of a prompt: `text`, without special tokens and thinking, and the number of `tokens` in
    all, without the end token."""

    text: str
    tokens: int


def continue_prompts(
    task: CausalLM,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    *,
    rows: int = ROWS,
    progress: Callable[[float, str], None] | None = None,
) -> list[list[Continuation]]:
    """`sampling.samples` continuations of each prompt (of token ids), in the given order.

    A continuation ends before the model's end token, after `max_new_tokens`, or at logits that are not finite.
    Prompts too long for the model are shortened, see `CausalLM.fitted`.

    Args:
        sampling: its `top_k` must be 0.
        rows: continuations in a batch, or the samples of one prompt if those are more.
        progress: called after each token of a batch with (share done, words).
    """
    show = progress or (lambda share, words: None)
    cut, max_new_tokens = task.fitted(prompts, max_new_tokens)
    if not keeps_keys(task):
        return _generated(task, cut, max_new_tokens, sampling, show)
    samples = sampling.samples
    streams = _streams(prompts, samples, max_new_tokens, sampling.seed)
    order = sorted(range(len(cut)), key=lambda i: len(cut[i]))
    found: list[list[Continuation]] = [[] for _ in cut]
    at_once = max(1, rows // samples)
    batches = [order[start : start + at_once] for start in range(0, len(order), at_once)]

    def own(numbers: Sequence[int]) -> list[list[list[int]]]:
        made: list[list[list[int]]] = []
        whole, done = sum(len(batches[number]) for number in numbers), 0
        for number in numbers:
            chosen = batches[number]

            def on_step(step: int, before: int = done, size: int = len(chosen)) -> None:
                done = before + size * step / max_new_tokens
                show(done / whole, f"continuing prompts, {int(done)}/{whole}")

            made.append(_continue(task, [cut[i] for i in chosen], streams[chosen], sampling, on_step))
            on_step(max_new_tokens)
            done += len(chosen)
        return made

    def about() -> list[Any]:
        return [[([cut[i] for i in chosen], streams[chosen].tolist()) for chosen in batches], asdict(sampling)]

    whole = task.shared("continuations", about, len(batches), own)
    for chosen, said in zip(batches, whole, strict=True):
        texts = words_said(task.tokenizer, said)
        for place, i in enumerate(chosen):
            mine = slice(place * samples, (place + 1) * samples)
            found[i] = [Continuation(text, len(ids)) for text, ids in zip(texts[mine], said[mine], strict=True)]
    return found


def continue_batches(
    task: CausalLM, batches: Sequence[tuple[list[list[int]], list[Any]]], sampling: Mapping[str, Any]
) -> list[list[list[int]]]:
    """Token ids sampled after the prompts of each batch (prompts, streams of random numbers)."""
    return [
        _continue(task, prompts, np.array(streams), Sampling(**sampling), lambda step: None)
        for prompts, streams in batches
    ]


def keeps_keys(task: CausalLM) -> bool:
    """Whether every layer caches only keys and values, which can be copied and selected; a recurrent layer has a
    state."""
    layers = DynamicCache(config=task.model.config).layers
    return all(
        hasattr(layer, "batch_repeat_interleave") and not isinstance(layer, LinearAttentionCacheLayerMixin)
        for layer in layers
    )


def _generated(
    task: CausalLM,
    prompts: Sequence[Sequence[int]],
    length: int,
    sampling: Sampling,
    show: Callable[[float, str], None],
) -> list[list[Continuation]]:
    """The same by transformers' own generation, for models with recurrent layers (Mamba, Jamba)."""

    def on_share(share: float) -> None:
        show(share, f"continuing prompts, {int(share * len(prompts))}/{len(prompts)}")

    said = task.generate(prompts, length, sampling, on_progress=on_share)
    return [[Continuation(text, task.tokens_in(text)) for text in texts] for texts in said]


def _streams(prompts: Sequence[Sequence[int]], samples: int, length: int, seed: int) -> np.ndarray:
    """(prompts, samples, length) numbers from [0, 1); prompts that occur twice get different ones."""
    seen: Counter[bytes] = Counter()
    numbers = np.empty((len(prompts), samples, length))
    for i, prompt in enumerate(prompts):
        key = np.asarray(prompt, dtype="<i8").tobytes()
        digest = int.from_bytes(hashlib.sha256(key).digest()[:16], "little")
        for sample in range(samples):
            numbers[i, sample] = np.random.default_rng([seed, digest, seen[key], sample]).random(length)
        seen[key] += 1
    return numbers


def _ends(task: CausalLM) -> list[int]:
    """Tokens that end a text: the tokenizer's, and those that the model's own generation would stop at."""
    of_model = getattr(task.model.generation_config, "eos_token_id", None)
    ends = [task.tokenizer.eos_token_id, *(of_model if isinstance(of_model, list) else [of_model])]
    return [end for end in ends if end is not None]


@torch.inference_mode()
def _continue(
    task: CausalLM,
    prompts: Sequence[Sequence[int]],
    streams: np.ndarray,
    sampling: Sampling,
    on_step: Callable[[int], None],
) -> list[list[int]]:
    """Token ids of every continuation, (prompts x samples) of them; streams (prompts, samples, length)."""
    _, samples, length = streams.shape
    ends = torch.tensor(_ends(task), dtype=torch.long)
    uniform = torch.from_numpy(streams.reshape(-1, length))
    said: list[list[int]] = [[] for _ in range(len(uniform))]
    live = torch.arange(len(uniform))
    with task.writing():
        logits, mask, cache = prefill(task, prompts)
        cache.batch_repeat_interleave(samples)
        logits, mask = logits.repeat_interleave(samples, 0), mask.repeat_interleave(samples, 0)
        for step in range(length):
            tokens, right = draw(logits, uniform[live, step], sampling.temperature, sampling.top_p)
            right &= ~torch.isin(tokens, ends)
            if not right.all():
                kept = right.nonzero()[:, 0]
                live, tokens = live[kept], tokens[kept]
                mask = mask[kept.to(task.device)]
                cache.batch_select_indices(kept.to(task.device))
            for row, token in zip(live.tolist(), tokens.tolist(), strict=True):
                said[row].append(token)
            if not len(live) or step == length - 1:
                break
            on_step(step + 1)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = next_logits(task, tokens[:, None].to(task.device), mask, cache)
    return said


def prefill(task: CausalLM, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, DynamicCache]:
    """(logits after each prompt, the mask of what the cache holds, the cache), left-padded.

    Groups of `PREFILL` are each as wide as their longest prompt: in one group all would be padded to the longest.
    """
    layers = DynamicCache(config=task.model.config).layers
    # sliding-window layers drop old keys, so they cannot be padded afterwards
    # and those of an assistant are separate
    plain = all(type(layer) is DynamicLayer for layer in layers) and beside(task.model) is None
    size = PREFILL if plain else len(prompts)
    read = [_prefill_group(task, prompts[start : start + size]) for start in range(0, len(prompts), size)]
    logits, masks, caches = zip(*read, strict=True)
    if len(read) == 1:
        return logits[0], masks[0], caches[0]
    width = max(mask.shape[1] for mask in masks)

    def joined(states: Sequence[Tensor]) -> Tensor:
        return torch.cat([pad(state, (0, 0, width - state.shape[-2], 0)) for state in states])

    cache = DynamicCache(config=task.model.config)
    for i in range(len(caches[0].layers)):
        same = [each.layers[i] for each in caches]
        cache.update(joined([layer.keys for layer in same]), joined([layer.values for layer in same]), i)
        for layer in same:
            layer.keys = layer.values = None  # release the groups' caches once they are merged
    mask = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in masks])
    return torch.cat(logits), mask, cache


def _prefill_group(task: CausalLM, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, DynamicCache]:
    ids, mask = (each.to(task.device) for each in left_padded(prompts, 0))
    cache = cache_for(task.model)
    return next_logits(task, ids, mask, cache), mask, cache


def next_logits(task: CausalLM, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """(rows, vocabulary) after the last of `ids` (rows, new), which follow the cached ones; mask (rows, all)."""
    known = inspect.signature(task.model.forward).parameters
    inputs = {
        "input_ids": ids,
        # without padding there is nothing to mask, and the kernel without a mask is quicker
        "attention_mask": None if bool(mask.all()) else mask,
        "use_cache": True,
        # older releases of transformers know this name
        "cache" if "cache" in known else "past_key_values": cache,
    }
    if "position_ids" in known:  # models with ALiBi take positions from the mask
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    if task.plain_head:
        hidden = task.model.base_model(**inputs).last_hidden_state[:, -1]
        logits: Tensor = task.model.get_output_embeddings()(hidden)
    else:
        last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        logits = task.model(**inputs, **last).logits[:, -1]
    return logits


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """(a token for each row, whether its logits are finite), both (rows,) and on the CPU.

    Tokens are drawn by inverting the distribution function of the likeliest ones, in falling order, at `uniform`
    (rows,) in [0, 1): one number a token.

    Args:
        logits: (rows, vocabulary), on any device; sums are computed on the CPU, since not every device has float64.
    """
    probabilities = (logits.float() / temperature).softmax(-1)
    right = ~probabilities.isnan().any(-1).cpu()
    probabilities = probabilities.nan_to_num(0.0)
    tokens = torch.zeros(len(logits), dtype=torch.long)
    rest = right.nonzero()[:, 0]
    for count in (*(count for count in SORTED if count < logits.shape[1]), logits.shape[1]):
        if not len(rest):
            break
        likeliest, ids = (found.cpu() for found in probabilities[rest.to(logits.device)].topk(count))
        mass = likeliest.double().cumsum(-1)
        whole = count == logits.shape[1]
        found = (mass[:, -1] >= top_p) | whole
        mass, ids = mass[found], ids[found]
        size = (mass < top_p).sum(-1).clamp(max=count - 1)  # index of the nucleus' last token
        target = uniform[rest[found]] * mass.gather(1, size[:, None])[:, 0]
        place = torch.minimum((mass <= target[:, None]).sum(-1), size)
        tokens[rest[found]] = ids.gather(1, place[:, None])[:, 0]
        rest = rest[~found]
    return tokens, right
