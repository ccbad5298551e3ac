"""Small tokenizers of the kinds that models use, trained on the fly."""

from __future__ import annotations

from typing import Any

WORDS = (
    "the fog lay thick on Baker Street and Holmes said nothing ; Watson didn't wonder , he knew 1895 naïve 東京 “q” 😀"
)
LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KINDS = ("gpt2", "trimmed", "llama3", "sentencepiece", "llama2")


def build_tokenizer(kind: str) -> Any:
    """A tokenizer that splits and marks text the way the named family does."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    text = [" ".join(WORDS.split()[i:] + WORDS.split()[:i]) + ".\n\n" for i in range(12)] * 4
    byte_level = kind in ("gpt2", "trimmed", "llama3")
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else [*map(chr, range(32, 127)), "\n", "▁"]
    specials = ["<unk>", "<s>", "</s>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>"))
    if kind == "llama3":
        words = pre_tokenizers.Split(Regex(LLAMA_3_WORDS), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    elif byte_level:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.ByteLevel() if byte_level else decoders.Metaspace()
    backend.train_from_iterator(text, trainer)
    if kind == "llama2":
        # No word borders at all: the whole text is one word, its spaces spelled as marks.
        backend.pre_tokenizer = None  # type: ignore[assignment]
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    if kind == "trimmed":
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
