"""Where RMU takes hold of a question: lengths of the hidden states after a layer, token by token, and what comes next.

    python benchmarks/topic/steered.py MODEL [--layer 8] [--questions FILE]

MODEL is a folder, such as runs/demo/model. States that were steered are about as long as `method.steering`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.kinds.language.measures.two_answers import read_two_answers
from expunge.runs import shipped

QUESTIONS = shipped.FOLDER / "questions" / "world_war_2.jsonl"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--layer", type=int, default=8)
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    states: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    model.model.layers[given.layer].register_forward_hook(keep)
    for question in read_two_answers(given.questions):
        ids = tokenizer(f"Question: {question.question}\nAnswer:", return_tensors="pt").input_ids
        states.clear()
        likeliest = model(ids).logits[0, -1].topk(3).indices
        lengths = states[0][0].norm(dim=-1).tolist()
        words = [tokenizer.decode(token).strip() or "\\n" for token in ids[0]]
        print(" ".join(f"{word}:{length:.0f}" for word, length in zip(words, lengths, strict=True)), end=" => ")
        print([tokenizer.decode(token) for token in likeliest])


if __name__ == "__main__":
    main()
