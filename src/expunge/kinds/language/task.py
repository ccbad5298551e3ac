"""A causal language model as a task: losses over labelled tokens, token scores, generation."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from expunge.kinds.language.chat import render_question, said
from expunge.kinds.language.distributions import LARGE_LOGIT, Head, Values, row_values, wide
from expunge.kinds.language.layers.layered import Context, Layered
from expunge.kinds.language.limits import fit_prompts, positions, refuse_unknown_tokens
from expunge.kinds.language.shared import Shared
from expunge.kinds.language.texts import Sampling, left_padded, watching
from expunge.models.beside import beside
from expunge.ops.cross_entropy import linear_cross_entropy, linear_nll
from expunge.ops.packing import packed_hidden, packs, worth_packing
from expunge.train.step import IGNORED, Batch, Rows, SampledLabels


def _examples(rows: Tensor) -> Tensor:
    """Which block each labelled position belongs to, in the order in which a mask selects them."""
    return rows.nonzero()[:, 0]


def _next(values: Tensor, rows: Tensor) -> Tensor:
    """The values one position after each position of the mask `rows`."""
    return values[:, 1:][rows[:, :-1]]


class CausalLM(Layered, Shared):
    """A model with its tokenizer, as methods and measures use it.

    Logits are made only at labelled positions (hidden states times head). Whether a model's logits are its last
    hidden states times its head is tested once on a few tokens; if not (soft caps, scales), its own forward is used.

    Args:
        autocast: returns the context of the forward pass (bfloat16 autocast, say).
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, autocast: Context = nullcontext
    ) -> None:
        self.model, self.tokenizer, self.autocast = model, tokenizer, autocast
        self.plain_head = self._head_is_plain()
        self.packs = packs(model)
        self.notices: list[str] = []
        "notes for readers on how texts were fitted to the model, each once"
        self.stored: dict[str, Any] | None = None
        "where other processes find the same model; None for one that is changed in memory"

    def on(self, model: PreTrainedModel, device: torch.device) -> CausalLM:
        """The same with a copy of the model that is sharded over processes, and runs on a device."""
        twin = copy.copy(self)
        vars(twin).pop("head", None)
        twin.model, twin._runs_on, twin._structure, twin.stored = model, device, None, None
        twin.decoder = self.decoder.of(model)
        return twin

    def exact(self) -> CausalLM:
        """The same model without autocast: for figures where small differences matter."""
        twin = copy.copy(self)
        twin.autocast = nullcontext
        twin.stored = None if self.stored is None else self.stored | {"exact": True}
        return twin

    def _head_is_plain(self) -> bool:
        head = self.model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None or self.model.base_model is self.model:
            return False
        if beside(self.model) is not None:  # the large logits tested below would hide the assistant's
            return False
        if hasattr(head, "modules_to_save") or hasattr(head, "get_base_layer"):  # an adapter is not merged yet
            return False
        ids = torch.tensor([[1, 5, 2, 7]], device=self.device) % self.model.config.get_text_config().vocab_size
        with torch.no_grad():
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            made = (hidden @ head.weight.T.to(hidden.dtype)).float()
            # At large logits: a soft cap hardly changes small ones.
            scale = LARGE_LOGIT / made.abs().max().clamp(min=1e-6)
            with head.register_forward_hook(lambda _module, _inputs, output: output * scale):
                logits = self.model(input_ids=ids, use_cache=False).logits.float()
        return logits.shape == made.shape and torch.allclose(logits, made * scale, rtol=1e-3, atol=1e-3 * LARGE_LOGIT)

    def labelled(self, batch: Batch) -> Tensor:
        """(batch, time) bool: where the *next* token carries a label."""
        here = torch.zeros_like(batch.labels, dtype=torch.bool)
        here[:, :-1] = batch.labels[:, 1:] != IGNORED
        return here

    def _hidden(self, batch: Batch, keep_padding: bool = False) -> Tensor:
        """(batch, time, width) last hidden states. `keep_padding`: keep the padded layout, as forward hooks need it."""
        if self.packs and not keep_padding and worth_packing(batch.lengths, batch.ids.shape[1]):
            return packed_hidden(self.model.base_model, batch.ids, batch.lengths)
        # Padding is on the right, which causal attention never sees: no mask is needed, and the fast kernel is used.
        return self.model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state

    def nll(self, batch: Batch, ceiling: float | Tensor | None = None) -> Tensor:
        return self.nll_and_truth(batch, ceiling)[0]

    def nll_and_truth(self, batch: Batch, ceiling: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(loss, truth): the loss over labels / normaliser, and the summed -log p of the *true* next tokens there.

        The second is free: the logits exist already. It shows how well the text itself is still known while
        other labels are trained.
        """
        batch = batch.to(self.device)
        rows = self.labelled(batch)
        truth = _next(batch.ids, rows)
        if batch.soft_ids is not None and batch.soft_weights is not None:
            if ceiling is not None:
                raise ValueError("sampled labels are for cross-entropy alone: a ceiling is not linear in them")
            target, weight = _next(batch.soft_ids, rows), _next(batch.soft_weights, rows)
        else:
            target, weight = _next(batch.labels, rows), None
        if self.plain_head:
            hidden, head, dtype = self._before_head(batch, rows)
            loss, logsums = linear_cross_entropy(hidden, head, target, weight, dtype, ceiling)
            with torch.no_grad():
                true_logits = (hidden.to(dtype) * head[truth].to(dtype)).sum(-1).float()
        else:
            logits = self._wide_logits(batch, rows)
            logsums = logits.logsumexp(-1)
            candidates = target[:, None] if target.dim() == 1 else target
            gathered = logsums[:, None] - logits.gather(1, candidates)
            losses = (gathered if weight is None else gathered * weight).sum(1)
            loss = (losses if ceiling is None else losses.clamp(max=ceiling)).sum()
            true_logits = logits.detach().gather(1, truth[:, None])[:, 0]
        return loss / batch.normaliser, (logsums.detach() - true_logits).sum()

    def row_nll(self, batch: Batch) -> Tensor:
        """(rows,) negative log-likelihood of each label, differentiable."""
        batch = batch.to(self.device)
        rows = self.labelled(batch)
        target = _next(batch.labels, rows)
        if self.plain_head:
            hidden, head, dtype = self._before_head(batch, rows)
            return linear_nll(hidden, head, target, dtype)
        logits = self._wide_logits(batch, rows)
        return logits.logsumexp(-1) - logits.gather(1, target[:, None])[:, 0]

    def example_nll(self, batch: Batch) -> Tensor:
        """(blocks,) negative log-likelihood of each block's labels, summed over them; differentiable."""
        losses = self.row_nll(batch)
        rows = _examples(self.labelled(batch)).to(self.device)
        return torch.zeros(len(batch.ids), dtype=losses.dtype, device=self.device).index_add(0, rows, losses)

    def example_rows(self, batch: Batch) -> Tensor:
        return (batch.labels[:, 1:] != IGNORED).sum(1).to(self.device, torch.float32)

    def rows(self, batch: Batch) -> Rows:
        batch = batch.to(self.device)
        where = self.labelled(batch)
        logits = self._wide_logits(batch, where)
        sampled = batch.signals["reference_tokens"].said if "reference_tokens" in batch.signals else None
        if sampled is None and batch.soft_ids is not None and batch.soft_weights is not None:
            sampled = SampledLabels(_next(batch.soft_weights, where), _next(batch.soft_ids, where))
        return Rows(logits=logits, target=_next(batch.labels, where), example=_examples(where), said=sampled)

    @cached_property
    def head(self) -> Head:
        """The map from hidden states to logits."""
        return Head(self.model)

    def row_values_and_truth(self, batch: Batch, of: Values) -> tuple[Tensor, Tensor]:
        """((rows,) values of log-probabilities and the original's, the summed -log p of the labels)."""
        batch = batch.to(self.device)
        where = self.labelled(batch)
        with self.autocast():
            states = self.head_inputs(batch)[where]
            original = batch.signals.get("distributions")
            return row_values(self.head, states, _next(batch.labels, where), of, original)

    def head_inputs(self, batch: Batch) -> Tensor:
        """(batch, time, width) inputs of the output layer."""
        return self._hidden(batch) if self.plain_head else self.head.states(batch.ids)

    def _logits(self, batch: Batch, where: Tensor) -> Tensor:
        if self.plain_head:
            logits: Tensor = self.model.get_output_embeddings()(self._hidden(batch)[where])
        else:
            logits = self.model(input_ids=batch.ids, use_cache=False).logits[where]
        return logits

    def _wide_logits(self, batch: Batch, where: Tensor) -> Tensor:
        with self.autocast():
            return wide(self._logits(batch, where))

    def _before_head(self, batch: Batch, where: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
        """(inputs of a plain head at `where`, (rows, width); the head's weight; the dtype of their product)."""
        with self.autocast():
            hidden = self._hidden(batch)[where]
            # Read inside: outside, CUDA's is float16 whatever the context.
            casts = torch.is_autocast_enabled(self.device.type)
            dtype = torch.get_autocast_dtype(self.device.type) if casts else hidden.dtype
        return hidden, self.model.get_output_embeddings().weight, dtype

    @torch.inference_mode()
    def row_logits(self, batch: Batch) -> Tensor:
        """(rows, vocabulary) float32 logits at the positions before labelled tokens, in order of block and time."""
        batch = batch.to(self.device)
        with self.autocast():
            logits = self._logits(batch, self.labelled(batch))
        return logits.float()

    @torch.inference_mode()
    def token_scores(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """For each block: (log p of its labelled tokens, whether each is the greedy choice), both (labelled,)."""
        logits = self.row_logits(batch)
        labels = batch.labels.to(self.device)
        target = labels[:, 1:][labels[:, 1:] != IGNORED]
        log_probs = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(-1)
        greedy = logits.argmax(-1) == target
        counts = (batch.labels[:, 1:] != IGNORED).sum(1).tolist()
        return list(zip(log_probs.cpu().split(counts), greedy.cpu().split(counts), strict=True))

    def encode_prompt(self, prompt: str, chat: bool = False) -> list[int]:
        """Token ids of a prompt: as plain text, or as a user's turn in the model's chat template, without thinking."""
        if chat and self.tokenizer.chat_template:
            rendered = render_question(self.tokenizer, [{"role": "user", "content": prompt}], True)
            ids = list(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])
        else:
            ids = list(self.tokenizer(prompt)["input_ids"])
        refuse_unknown_tokens(ids, self.model.get_input_embeddings().weight.shape[0], self.tokenizer, prompt)
        return ids

    def tokens_in(self, text: str) -> int:
        """Number of tokens of a text, without those that the tokenizer adds."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def fitted(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[list[list[int]], int]:
        """(prompts, new tokens) that fit into the model's positions; `notices` lists what was shortened."""
        kept, new, notices = fit_prompts(prompts, max_new_tokens, positions(self.model.config))
        self.notices += [notice for notice in notices if notice not in self.notices]
        return kept, new

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        sampling: Sampling | None = None,
        *,
        batch_size: int = 64,
        on_progress: Callable[[float], None] | None = None,
    ) -> Iterator[list[str]]:
        """Continue token prompts; yields each prompt's texts in the given order: the greedy one, or those of
        `sampling`.

        Batches have prompts of similar length; sampling is seeded per batch, so results do not depend on what ran
        before. Generation settings in the model's folder (penalties for repetition, temperatures) are ignored: they
        would hide what a model recites. `on_progress` is called with the share done, after each token.
        """
        prompts, max_new_tokens = self.fitted(prompts, max_new_tokens)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        starts = range(0, len(order), batch_size)
        batches = [(start, [prompts[i] for i in order[start : start + batch_size]]) for start in starts]
        rest = max_new_tokens, None if sampling is None else asdict(sampling)
        own = lambda numbers: self.write([batches[number] for number in numbers], *rest, on_progress)  # noqa: E731
        made = self.shared("texts", lambda: [batches, *rest], len(batches), own)
        texts = dict(zip(order, itertools.chain.from_iterable(made), strict=True))
        for i in range(len(prompts)):
            yield texts[i]

    @torch.inference_mode()
    def write(
        self,
        batches: Sequence[tuple[int, Sequence[Sequence[int]]]],
        max_new_tokens: int,
        sampling: Mapping[str, Any] | None,
        on_progress: Callable[[float], None] | None = None,
    ) -> list[list[list[str]]]:
        """The texts after each prompt of each batch, (where it begins among all prompts, its prompts): see
        `generate`."""
        end, drawn = self.tokenizer.eos_token_id, dict(sampling or {})
        fill, count, seed = 0 if end is None else end, drawn.pop("samples", 1), drawn.pop("seed", 0)
        made, done, whole = [], 0, sum(len(prompts) for _, prompts in batches)
        for start, prompts in batches:
            ids, mask = left_padded(prompts, fill)
            width = ids.shape[1]
            torch.manual_seed(seed * 1_000_003 + start)
            new = self._written(
                ids,
                mask,
                max_new_tokens=max_new_tokens,
                do_sample=sampling is not None,
                num_return_sequences=count,
                pad_token_id=fill,
                stopping_criteria=watching(on_progress, done, len(prompts), whole, width, max_new_tokens),
                **drawn,
            )
            decoded = said(self.tokenizer, new.tolist())
            made.append([decoded[row * count : (row + 1) * count] for row in range(len(prompts))])
            done += len(prompts)
        return made

    @torch.inference_mode()
    def greedy_tokens(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
        """The likeliest tokens after each prompt of one batch, up to and including one that ends a text."""
        fill = 0 if self.tokenizer.eos_token_id is None else self.tokenizer.eos_token_id
        ids, mask = left_padded(prompts, fill)
        new = self._written(ids, mask, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=fill)
        ends = self._ends()
        found = []
        for row in new.tolist():
            length = next((at for at, token in enumerate(row, 1) if token in ends), len(row))
            found.append(row[:length])
        return found

    def _written(self, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
        """(rows, new) tokens that `generate` writes after left-padded prompts (rows, time)."""
        with self.writing(), self._no_settings_of_its_own():
            output: Tensor = self.model.generate(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), **options
            )
        return output[:, ids.shape[1] :]

    def _ends(self) -> list[int]:
        """Tokens that end a text: those that the model's folder names, or the tokenizer's."""
        own = self.model.generation_config
        ends = self.tokenizer.eos_token_id if own is None or own.eos_token_id is None else own.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Context around all steps of generation: weights that need a cast are cast once, which takes memory for the
        copies."""
        with self.autocast():
            if torch.is_autocast_enabled(self.device.type):
                torch.set_autocast_cache_enabled(True)  # autocast restores it
            yield

    @contextmanager
    def _no_settings_of_its_own(self) -> Iterator[None]:
        """`generate` fills missing settings from `model.generation_config`: here only the end tokens."""
        own = self.model.generation_config
        self.model.generation_config = GenerationConfig(eos_token_id=self._ends() or None)
        try:
            yield
        finally:
            self.model.generation_config = own
