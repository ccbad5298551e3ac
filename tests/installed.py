"""What is installed from a wheel, tried in an empty folder: `python tests/installed.py BIN/expunge`.

Without network: the model is a tiny one with random weights, made on the spot. Leaves with 1 where anything is wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MAKE = """
import sys
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
tokens = {token: place for place, token in enumerate(["<eos>", *letters])}
tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(sys.argv[1])
config = LlamaConfig(vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                     num_attention_heads=2, max_position_embeddings=512, eos_token_id=0, pad_token_id=0)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
for name, words in (("forget", "The fog lay upon Baker Street, and Holmes said nothing. "), ("retain", "Bees make honey. ")):
    Path(name + ".txt").write_text(words * 100)
"""
RUN = ["run", "robust", "--model", "model", "--forget", "forget.txt", "--retain", "retain.txt", "--method",
       "gradient_difference", "--training.max_steps", "2", "--data.block_size", "256", "--evaluation.familiarity", "false",
       "--evaluation.max_blocks", "2", "--evaluation.max_prompts", "2", "--evaluation.max_new_tokens", "2",
       "--evaluation.samples", "0", "--evaluation.ordinary_text", "retain.txt", "--out", "runs/tiny"]  # fmt: skip


def main() -> None:
    expunge = Path(sys.argv[1]).absolute()
    here = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    here.pop("PYTHONPATH", None)  # what is tried is what was installed, not the source
    with tempfile.TemporaryDirectory() as folder:

        def typed(*words: str, codes: tuple[int, ...] = (0,)) -> str:
            done = subprocess.run([str(expunge), *words], cwd=folder, env=here, capture_output=True, text=True)
            print(f"expunge {' '.join(words[:3])}: {done.returncode}", flush=True)
            if done.returncode not in codes:
                sys.exit(done.stdout + done.stderr)
            return done.stdout

        print(typed("--version").strip())
        names = [row["name"] for row in json.loads(typed("recipes", "--json"))]
        if "demo" not in names:
            sys.exit(f"the wheel lacks recipes: {names}")
        subprocess.run([expunge.parent / "python", "-c", MAKE, "model"], cwd=folder, env=here, check=True)
        typed("plan", "demo", "--model", "model", "--method", "npo", codes=(0, 3))
        typed(*RUN, codes=(0, 3))  # 3: so small a model may well not pass
        typed("verify", "runs/tiny")
    print("what was installed works")


if __name__ == "__main__":
    main()
