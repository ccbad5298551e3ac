"""Seconds and memory of methods on TOFU's questions, against plain code: the same model, rows, batches' size and precision.

    python benchmarks/method_speed/run.py --data TOFU [--rows 48] [--batch 8] [--out benchmarks/method_speed/result.json]

Each case and side runs in a process of its own, with one thread; what is measured are seconds of the processor, which other
processes hardly change. Plain code (`plain.py`) keeps a copy of the model as the reference, asks it
in every step, has logits at every token, and pads rows in the order of the data. Expunge is called as a user calls it:
`expunge.unlearn`. What it computes before training (what the reference says) is counted in, spread over `--epochs`.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import plain
import torch

CASES: dict[str, dict[str, Any]] = {
    "npo": {"method": {"name": "npo"}},
    "npo_kl": {"method": {"name": "npo", "retain_target": "base"}},
    "rmu": {"method": {"name": "rmu", "layer": plain.RMU_LAYER, "retain_weight": plain.RMU_WEIGHT}},
    "npo, LoRA and checkpointing": {
        "method": {"name": "npo"},
        "plain": "npo",
        "training": {"adapter_rank": 16, "gradient_checkpointing": True},
    },
}
WARM = 1
"steps at the beginning that are not counted, on either side"


def questions(data: Path, name: str, rows: int) -> list[dict[str, str]]:
    """So many questions, evenly spread over a file."""
    every = [json.loads(line) for line in (data / f"{name}.json").read_text(encoding="utf-8").splitlines() if line]
    step = max(1, len(every) // rows)
    return [{"question": row["question"], "answer": row["answer"]} for row in every[::step][:rows]]


def tokens_of(model: Any, tokenizer: Any, sets: dict[str, list[dict[str, str]]]) -> dict[str, plain.Rows]:
    """The rows as Expunge reads them: plain code is given the same tokens and labels."""
    import expunge

    prepared = expunge.prepare(model, tokenizer, **sets, method="gradient_difference")
    found = {}
    for name in sets:
        table = getattr(prepared, name)
        batches = [table.batch([row]) for row in range(len(table))]
        found[name] = [(batch.ids[0].tolist(), batch.labels[0].tolist()) for batch in batches]
    return found


def serve(case: str, side: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Make the steps of a side; what they took."""
    import expunge
    from expunge.core.memory import peak_memory_bytes
    from expunge.models.source import find_model, load_model

    sets = {"forget": questions(arguments.data, "forget10", arguments.rows)}
    sets["retain"] = questions(arguments.data, "retain90", arguments.rows)
    loaded = load_model(find_model(arguments.model))
    model, tokenizer = loaded.model.float(), loaded.tokenizer
    rows = tokens_of(model, tokenizer, sets)
    libraries, times, batch = peak_memory_bytes(), [time.process_time()], arguments.batch
    if side == "expunge":
        training = expunge.Training(
            learning_rate=1e-6, per_device_train_batch_size=batch, num_train_epochs=1, bf16=False,
            save_seconds=1e9, probe_steps=10**6, **CASES[case].get("training", {}),
        )  # fmt: skip

        def note(step: int, steps: int, figures: Any) -> None:
            times.append(time.process_time())

        method = dict(CASES[case]["method"])
        expunge.unlearn(model, tokenizer, **sets, method=method, training=training, on_progress=note)
    else:
        name = CASES[case].get("plain", case)
        reference = copy.deepcopy(model).eval()
        model.train()
        if name == "rmu":
            plain.rmu_weights(model)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-6)
        times.append(time.process_time())  # what came before is no step
        for start in range(0, len(rows["forget"]), batch):
            batches = [plain.padded(rows[part][start : start + batch]) for part in ("forget", "retain")]
            plain.LOSSES[name](model, reference, *batches).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.process_time())
    between = [end - begin for begin, end in itertools.pairwise(times)]
    first, steps = between[0], between[1:] if side == "expunge" else between[1 + WARM :]
    return {
        "step": statistics.fmean(steps),
        "prepared": max(0.0, first - statistics.fmean(steps)) if side == "expunge" else 0.0,
        "steps": float(len(steps)),
        "peak_gib": (peak_memory_bytes() - libraries) / 2**30,
    }


def measuring(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of all of TOFU's measures of likelihood on a split, by one pass and by a pass for each measure."""
    from expunge.kinds.language.lazy import LazyModel
    from expunge.kinds.language.measures.question_answers import answer_questions
    from expunge.models.source import find_model
    from expunge.suites.tofu.reading import read_tofu
    from expunge.train.precision import Precision

    task = LazyModel(find_model(arguments.model), Precision(False))()
    asked = read_tofu(str(arguments.data), "forget10").measured["forget"][: arguments.rows // 2]
    start = time.process_time()
    answer_questions(task, asked, generate=False)
    once = time.process_time() - start
    texts = {"answer": [(row.question, row.answer) for row in asked]}
    texts["paraphrased"] = [(row.question, row.paraphrased or row.answer) for row in asked]
    texts["perturbed"] = [(row.question, each) for row in asked for each in row.perturbed]
    passes = {
        "probability": ["answer"],
        "truth ratio": ["paraphrased", "perturbed"],
        "extraction strength": ["answer"],
        "exact memorization": ["answer"],
        "loss": ["answer"],
        "min-k": ["answer"],
        "forget quality": ["paraphrased", "perturbed"],
    }
    seconds: dict[str, float] = {}
    model = task.model
    for measure, wanted in passes.items():
        start = time.process_time()
        for pairs in (texts[name] for name in wanted):
            for place in range(0, len(pairs), arguments.batch):
                rows = []
                for question, answer in pairs[place : place + arguments.batch]:
                    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                    ids = task.tokenizer.apply_chat_template(chat, return_dict=False)
                    rows.append((list(ids), list(ids)))
                batch = plain.padded(rows)
                with torch.no_grad():
                    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                    torch.nn.functional.cross_entropy(
                        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
                    )
        seconds[measure] = time.process_time() - start
    return {"once": once, "each": sum(seconds.values()), **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with TOFU's files")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5, help="that what is computed beforehand serves; TOFU's are 5")
    parser.add_argument("--cases", nargs="*", default=[*CASES, "measures"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs=2, help="(a case and a side, in a process that this script started)")
    arguments = parser.parse_args()
    if arguments.only:
        torch.set_num_threads(1)
        case, side = arguments.only
        print(json.dumps(measuring(arguments) if case == "measures" else serve(case, side, arguments)))
        return
    options = ["data", "model", "rows", "batch"]
    words = [word for name in options for word in (f"--{name}", str(getattr(arguments, name)))]
    found: dict[str, Any] = {}

    def measured(case: str, side: str) -> dict[str, float]:
        with tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run(
                [sys.executable, __file__, *words, "--only", case, side],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            if done.returncode != 0:
                errors.seek(0)
                sys.exit(errors.read())
        values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return values

    for case in arguments.cases:
        if case == "measures":
            sides = measured(case, "both")
            found[case] = {"seconds": sides, "ratio": sides["each"] / sides["once"]}
        else:
            theirs, ours = measured(case, "plain"), measured(case, "expunge")
            epoch = arguments.rows / arguments.batch * arguments.epochs
            found[case] = {
                "plain": theirs,
                "expunge": ours,
                "ratio_of_steps": theirs["step"] / ours["step"],
                "ratio": theirs["step"] * epoch / (ours["prepared"] + ours["step"] * epoch),
                "memory": ours["peak_gib"] / theirs["peak_gib"],
            }
        print(
            case,
            json.dumps({key: value for key, value in found[case].items() if not isinstance(value, dict)}),
            flush=True,
        )
    result = {name: str(getattr(arguments, name)) for name in (*options[1:], "epochs")} | {"cases": found}
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
