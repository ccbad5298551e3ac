"""Documents cut into blocks of tokens, each token with the characters it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from expunge.data.text.document import Document
from expunge.data.text.token_stream import OVERLAP, Encoder, TokenStream
from expunge.errors import DataError
from expunge.kinds.language.question_rows import QuestionFormat, QuestionRow

MIN_BLOCK = 8
"minimum tokens of a document's last block; a shorter rest is dropped"
MIN_DOCUMENT = 2
"tokens of text below which a whole document is dropped: one token has no context"
MIN_TARGET = 4
"tokens below which a target is refused"
BATCH_CHARACTERS = 1 << 17
BATCH_DOCUMENTS = 512
"characters tokenized at once"


@dataclass(frozen=True, slots=True)
class Block:
    """At most `block_size` tokens of one document."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    "which characters of `text` each token stands for, without gaps from 0 to the end; empty for what is not text"
    text: str
    "the characters of this block's tokens; of a question row the rendered prompt, then the answer"
    first_label: int
    "index of the first token that may carry a label: 0, or after the token for the beginning, or the answer's first"
    source: str
    dropped: int = 0
    "turns left out at the beginning of a conversation, for lack of space"


def iterate_blocks(documents: Iterable[Document], tokenizer: Any, block_size: int) -> Iterator[Block]:
    """Tokenize documents as a stream and cut each into blocks.

    - The pieces of one passage are one stream, with the tokens of tokenizing it whole; different
      documents never share a block.
    - At a document's end fewer than `MIN_BLOCK` tokens are dropped, unless they are its only ones.
    - Special tokens written out in the data (`<|im_end|>`) are tokenized as text. Nothing is added to plain text
      but the token for the beginning, before each block, where the tokenizer itself adds one.
    - A question row is the chat template's prompt, the answer and the end of turn; without a template it is
      `Question: ...\\nAnswer: ...`. An answer that does not fit continues in further blocks, labelled from their start.
      The earliest turns of a long conversation are left out, until half of the block is free for the answer.

    Args:
        documents: as `read_documents` yields them.
        tokenizer: a fast tokenizer of transformers.
        block_size: most tokens in a block.

    Raises:
        ModelError: a tokenizer without offsets, or a chat template that fails.
        DataError: a question whose prompt alone fills the block.
    """
    encoder = Encoder(tokenizer)
    questions = QuestionFormat(encoder, block_size)
    stream: TokenStream | None = None
    for batch in _batches(documents):
        rows = iter(questions.tokenize([document for document in batch if document.prompt is not None]))
        windows = iter(encoder.encode(_windows(batch, stream.tail if stream else "")))
        for document in batch:
            if stream is not None and not document.continues:
                yield from _cut_stream(stream, encoder.prefix, block_size, last=True)
                stream = None
            if document.prompt is not None:
                yield from _cut_row(next(rows), encoder.prefix, block_size)
            else:
                stream = stream or TokenStream()
                stream.append(document.text, next(windows), document.source, encoder)
                yield from _cut_stream(stream, encoder.prefix, block_size, last=False)
    if stream is not None:
        yield from _cut_stream(stream, encoder.prefix, block_size, last=True)


def check_target_length(tokens: int, block_size: int, target: str) -> str | None:
    """Check a set's size by the tokens in all its blocks; a sentence for the user if it is short but usable.

    Raises:
        DataError: fewer than `MIN_TARGET` tokens.
    """
    if tokens < MIN_TARGET:
        raise DataError(
            f"{target} is too short",
            seen=f"{tokens} tokens",
            allowed=f"at least {MIN_TARGET} tokens; a few thousand are usual",
            next_step="give more of the text, or name the topic in words so that the model is asked what it knows",
        )
    if tokens < block_size:
        return f"{target} has {tokens} tokens, fewer than the {block_size} of one block: its blocks are short"
    return None


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS or len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _windows(batch: list[Document], tail: str) -> list[str]:
    """Each piece of plain text, appended to the text that it continues."""
    windows = []
    for document in batch:
        if document.prompt is None:
            windows.append((tail if document.continues else "") + document.text)
            tail = windows[-1][-OVERLAP:]
    return windows


def _cut_stream(stream: TokenStream, prefix: list[int], block_size: int, *, last: bool) -> Iterator[Block]:
    room = block_size - len(prefix)
    ready = len(stream.ids) if last else stream.settled()
    only = stream.start == 0
    while ready >= room or (last and ready >= (MIN_DOCUMENT if only else MIN_BLOCK)):
        count = min(room, ready)
        text = stream.text[: stream.ends[count - 1] - stream.start]
        ids, ends = stream.ids[:count], stream.ends[:count]
        yield _block(prefix, ids, ends, stream.start, text, len(prefix), stream.source)
        stream.drop(count)
        ready -= count
        only = False


def _cut_row(row: QuestionRow, prefix: list[int], block_size: int) -> Iterator[Block]:
    if row.first_label >= block_size:
        raise DataError(
            f"{row.source}: the question leaves no room for its answer",
            seen=f"{row.first_label} tokens before the answer",
            allowed=f"fewer than data.block_size, which is {block_size}",
            next_step="raise --data.block_size, or shorten the question",
        )
    first, start, first_label = 0, 0, row.first_label
    before: list[int] = []
    while first == 0 or len(row.ids) - first >= MIN_BLOCK:
        stop = min(first + block_size - len(before), len(row.ids))
        ids, ends = row.ids[first:stop], row.ends[first:stop]
        text = row.text[start : ends[-1]]
        yield replace(
            _block(before, ids, ends, start, text, first_label, row.source), dropped=0 if first else row.dropped
        )
        first, start, before, first_label = stop, ends[-1], prefix, len(prefix)


def _block(
    prefix: list[int], ids: list[int], ends: list[int], start: int, text: str, first_label: int, source: str
) -> Block:
    relative = [end - start for end in ends]
    offsets = [(0, 0)] * len(prefix) + list(zip([0, *relative], relative, strict=False))
    return Block(prefix + ids, offsets, text, first_label, source)


def in_groups(blocks: Iterable[Block], tokens: int) -> Iterator[list[Block]]:
    """Blocks in their order, in groups that make a batch of at most `tokens` tokens with padding (one block at
    least)."""
    group: list[Block] = []
    for block in blocks:
        width = max([len(block.ids), *(len(other.ids) for other in group)])
        if group and width * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(block)
    if group:
        yield group
