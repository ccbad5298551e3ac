"""Statements about a finished run on a language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.score import Score
from expunge.data.text.notes import Notes
from expunge.data.text.readers import digest_documents, read_documents, read_several
from expunge.errors import ExpungeError
from expunge.kinds.language.measures.declared import FORGETTING
from expunge.kinds.language.measures.judging import not_known, overshoot
from expunge.kinds.language.report.sections import language_parts
from expunge.kinds.language.target_verdicts import still_known, target_verdicts
from expunge.kinds.language.topics import SHOWN
from expunge.models.digest import GATED, is_assisted
from expunge.report.contents import Contents
from expunge.report.cost import cost, oracle_cost
from expunge.runs.folder import RunFolder
from expunge.runs.kind import Evidence

NOT_TESTED = {
    "relearn": "Whether the forgotten can be brought back by training the model again on related text (relearning).",
    "quantize": "Whether it comes back when the weights are quantised.",
    "prune": "Whether it comes back when the weights are pruned.",
    "interpolate": "Whether it comes back when the model is merged with others.",
    "prompts": "Prompts made to extract it: system prompts, started answers, hints in the context.",
    "sample": "Many attempts: whether one of several sampled answers contains it.",
    "lens": "Whether traces can be read from the model's inner states.",
    "membership": "Membership inference: whether it can be detected that the text was trained on.",
    "": "Translated prompts, and other languages than that of the target.",
}
"attack of an audit -> what is not tested without it"


LOADING = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or where it was uploaded to
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
"""
LOADING_ADAPTER = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

folder = "."  # this folder, or where it was uploaded to
model = AutoPeftModelForCausalLM.from_pretrained(folder)  # its base is named in adapter_config.json
tokenizer = AutoTokenizer.from_pretrained(folder)
"""


LOADING_GATED = """import json
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
how = json.load(open(f"{folder}/gate.json"))
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/base")
base = AutoModelForCausalLM.from_pretrained(f"{folder}/base", dtype="float32")  # by itself it knows what was forgotten
names = [f"adapter-{number}" for number in range(1, len(how["adapters"]) + 1)]
model = PeftModel.from_pretrained(base, f"{folder}/{names[0]}", adapter_name=names[0])
for name in names[1:]:
    model.load_adapter(f"{folder}/{name}", name)
model.base_model.set_adapter(names)
weights = {}
for path, module in model.named_modules():
    if path.rpartition(".lora_B.")[2] in names:
        name = path.rpartition(".")[2]
        module.register_forward_hook(lambda _module, _given, added, name=name: weights[name] * added)

def distances(mean, held):  # from one set of texts, in two ways
    z = (mean - held["mean"]) / held["scale"]
    along = (z @ held["directions"].T) ** 2
    across = (z.square().sum(-1) - along.sum(-1)).clamp(min=0) / held["floor"]
    far = ((along / held["variances"]).sum(-1) + across) / z.shape[-1]
    return torch.stack([far, 1 - (z / z.norm(dim=-1, keepdim=True) @ held["bank"].T).amax(-1)], -1)

def weight(detector, row, states):  # of an adapter at each token, by the model's hidden states as it was: (1, time, 1)
    count, score = len(detector["mean"]), 0
    for layer in range(count):
        mean = states[layer + 1].cumsum(1) / torch.arange(1, states[0].shape[1] + 1)[:, None]
        held = {name: value[layer] for name, value in detector.items() if name != "scores"}
        both, (usual, spread) = distances(mean, held), held["usual"]
        if "other_mean" in held:
            both = both - distances(mean, {name[6:]: value for name, value in held.items() if name[:6] == "other_"})
        score = score + ((both - usual) / spread).mean(-1) / count
    usual, spread, _ = detector["scores"]
    return torch.sigmoid(row["steepness"] * (row["boundary"] - (score - usual) / spread))[..., None]

detectors = [load_file(f"{folder}/{name}/detector.safetensors") for name in names]
text = tokenizer("Once", return_tensors="pt").input_ids
with torch.no_grad():
    for _ in range(40):
        with model.disable_adapter():
            states = model(text, output_hidden_states=True).hidden_states
        rows = zip(names, detectors, how["adapters"])
        weights.update({name: weight(detector, row, states) for name, detector, row in rows})
        token = model(text).logits[:, -1].argmax(-1)
        text = torch.cat([text, token[:, None]], 1)
print(tokenizer.decode(text[0]))
"""

LOADING_ASSISTANT = """import json, math
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
how = json.load(open(f"{folder}/assistant.json"))
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/base")
base = AutoModelForCausalLM.from_pretrained(f"{folder}/base")  # by itself it still knows what was forgotten
assistant = AutoModelForCausalLM.from_pretrained(f"{folder}/assistant")

def forgotten(scores):  # the logits of both, of one token: (rows, vocabulary)
    base, assistant = scores
    lowered = base - how["weight"] * assistant
    if not how["plausible"]:
        return lowered
    count = max(1, int(how["plausible"] * base.shape[-1]))
    lowest = base.topk(count).values[:, -1:]
    likely = base >= torch.minimum(lowest, base.max(-1, keepdim=True).values + math.log(how["plausible"]))
    mass, left = (each.masked_fill(~likely, -math.inf).logsumexp(-1, keepdim=True) for each in (base, lowered))
    return torch.where(likely, lowered + mass - left, base)

text = tokenizer("Once", return_tensors="pt").input_ids
with torch.no_grad():
    for _ in range(40):
        token = forgotten([model(text).logits[:, -1].float() for model in (base, assistant)]).argmax(-1)
        text = torch.cat([text, token[:, None]], 1)
print(tokenizer.decode(text[0]))
"""


class LanguageEvidence(Evidence):
    """Statements about a run on a language model."""

    template = "report.html.jinja"
    limits = (
        "These are measurements of one model on the prompts and texts named here. They are evidence of forgetting, "
        "not a guarantee: other prompts, other languages, further training or other attacks may bring back what was "
        "not seen."
    )
    benchmarks = True

    def title(self, recipe: Any) -> str:
        named = recipe.forget_kind in ("path", "toxicity")
        targets = [Path(each).name if named else str(each) for each in recipe.targets]
        more = len(targets) - SHOWN
        return ", ".join(targets[:SHOWN]) + (f" and {more} more" if more > 0 else "")

    def judge(
        self, scores: Sequence[Score], thresholds: Mapping[str, Any], record: Mapping[str, Any]
    ) -> dict[str, Any]:
        verdict = super().judge(scores, thresholds, record)
        unknown = not_known(verdict["checks"], [each.name for each in FORGETTING])
        found = {"passed": verdict["passed"] and not unknown, "not_known": unknown, "checks": verdict["checks"]}
        each = target_verdicts(scores, self.kind.verdict(**thresholds))
        return found | ({"targets": each} if each else {})

    def cost(self, folder: RunFolder, recipe: Any, trained: Mapping[str, Any]) -> dict[str, Any]:
        return cost(folder, trained, oracle_cost(recipe.retrained))

    def not_tested(self, scores: Sequence[Score]) -> list[str]:
        found = list(NOT_TESTED.values())
        if not any(score.measure == "accuracy" for score in scores):
            found.insert(0, "General ability on benchmarks: give --benchmarks FOLDER to `expunge evaluate`.")
        if not any(score.measure == "verbatim_recall" and score.split == "forget" for score in scores):
            found.insert(0, "Verbatim recall: the forget set has no passage of plain text that is long enough.")
        elif not any(score.measure == "rouge_l_recall" for score in scores):
            found.insert(0, "ROUGE-L as published: the package rouge-score knows only the letters a to z.")
        if not any(score.model == "retrained" for score in scores):
            found.insert(0, "Comparison with a model retrained without the forget set: none was given.")
        return found

    def tested_by(self, attacks: Iterable[str]) -> list[str]:
        return [NOT_TESTED[name] for name in attacks if name in NOT_TESTED]

    def remarks(self, scores: Sequence[Score], verdict: Mapping[str, Any]) -> list[str]:
        further = overshoot(scores)
        return still_known(verdict, scores) + ([] if further is None else [further])

    def sections(self, contents: Contents, folder: RunFolder) -> dict[str, Any]:
        return language_parts(contents) | {"pictures": False}

    def loading(self, folder: RunFolder) -> tuple[str, str]:
        if (folder.model / "adapter_config.json").is_file():
            return "peft", LOADING_ADAPTER
        if (folder.model / GATED).is_file():
            return "peft", LOADING_GATED
        if is_assisted(folder.model):
            return "transformers", LOADING_ASSISTANT
        return "transformers", LOADING

    def check_inputs(
        self, folder: RunFolder, recipe: Any, record: Mapping[str, Any]
    ) -> Iterable[tuple[str, bool | None]]:
        digests = record["digests"] if isinstance(record.get("digests"), dict) else {}
        yield from _check_sets(folder, recipe, digests)
        listed = digests.get("toxicity prompts", {})
        for name, wanted in (listed if isinstance(listed, dict) else {}).items():
            path = getattr(recipe.toxicity, name)
            if path is None or not Path(path).is_file():
                yield f"the toxicity prompts {path}: the file does not exist", None
            else:
                yield _compared(f"the toxicity prompts {path}", storage.digest_file(Path(path)) == wanted)


def _compared(what: str, same: bool) -> tuple[str, bool]:
    return f"{what} {'has' if same else 'does not have'} the recorded digest", same


def _check_sets(folder: RunFolder, recipe: Any, digests: Mapping[str, Any]) -> Iterable[tuple[str, bool | None]]:
    asked = folder.target / "answers.jsonl"
    also = () if asked.is_file() else recipe.forget_also
    named: dict[str, str | None] = {
        "forget": str(asked) if asked.is_file() else recipe.forget,
        "retain": recipe.retain,
        "holdout": recipe.holdout,
        "ordinary": recipe.evaluation.ordinary_text,
        "general": None,
    }
    if recipe.forget_kind == "toxicity":
        # Statements that were chosen out of tables, and their clean counterparts: they have no text of their own on
        # disk.
        yield f"the statements chosen from {recipe.forget}: the choice is not repeated", None
        named = {name: target for name, target in named.items() if name not in ("forget", "retain")}
    for name, target in named.items():
        wanted = digests.get(f"{name} set")
        if wanted is None:
            continue
        if target is None:
            yield _check_sampled(folder, name, wanted)
            continue
        targets = (target, *(also if name == "forget" else ()))
        target = ", ".join(targets)
        if not all(Path(each).exists() for each in targets):
            yield f"the {name} set {target}: the file or folder does not exist", None
        else:
            notes = Notes(None if target == str(asked) else recipe.data.read_by(name))
            try:
                yield _compared(f"the {name} set {target}", digest_documents(read_several(targets, notes)) == wanted)
            except ExpungeError as error:
                yield f"the {name} set {target} cannot be read: {error.what}", False


def _check_sampled(folder: RunFolder, name: str, wanted: str) -> tuple[str, bool | None]:
    """Check a set that the model wrote; without a user's retain set the general text is the retain set."""
    sampled = "general" if name == "retain" else name
    found = [_digest(str(path)) for path in folder.stages.glob(f"sampled-{sampled}-*/{sampled}.jsonl")]
    if not found:
        return f"the {name} set: sampled from the model, and no longer in stages/", None
    return _compared(f"the {name} set, sampled from the model,", wanted in found)


def _digest(target: str) -> str | None:
    try:
        return digest_documents(read_documents(target))
    except ExpungeError:
        return None
