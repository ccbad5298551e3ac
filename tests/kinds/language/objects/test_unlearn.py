"""Unlearning on objects does what a run on files does, and leaves a model as it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.data.text.readers import read_documents
from expunge.errors import DivergedError, RecipeError
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.recipe import Data, load_recipe
from expunge.kinds.language.sets import true_labels
from expunge.runs.registry import built_in, method_class
from small import SMALL, write_texts

TRAINING = expunge.Training(max_steps=3, num_train_epochs=9, learning_rate=1e-3, warmup_ratio=0, bf16=False)
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"layer": 2, "trained_layers": 1, "retain_weight": 1.0} for name in ("adaptive_rmu", "rmu")},
    "circuit_breakers": {"layers": (1, 2)},
    "meow": {"retain_weight": 1.0},
    "task_vector_negation": {"scale": 1.0},
    "undial": {"retain_weight": 1.0},
    "ceu": {"retain_weight": 1.0},
    "elm": {"fluency_tokens": 8},
    "altpo": {"alternatives": 2, "alternative_tokens": 4},
    "cir": {"epochs": 2, "retain_limit": 5.0},
    "mudman": {"steps": 4, "fork_every": 2},
}
"what fits a model of two layers, what a run would choose by held-out prompts, and what makes a loop short"
LANGUAGE = [name for name in built_in() if "causal_lm" in method_class(name).needs.kinds]
LANGUAGE = [name for name in LANGUAGE if method_class(name).kept_beside is None]  # a model in memory is half of those


def load(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), AutoTokenizer.from_pretrained(folder)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() <= other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.mark.parametrize(
    "method",
    [
        {"name": "npo"},
        {"name": "gradient_difference", "surprise_share": 0.5, "retain_target": "cleared"},
        {"name": "whos_harry_potter"},
    ],
    ids=lambda method: method["name"],
)
def test_the_same_bits_as_a_run_on_files(
    method: dict[str, Any], texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = SMALL | {"method": method, "retain": str(texts[1]), "data.retain_answers": 0, "seed": 3}
    options |= {"evaluation.familiarity": False, "evaluation.ordinary_text": str(texts[1])}
    run = expunge.forget(str(texts[0]), out=tmp_path / "run", model=str(tiny_model_folder), **options)
    held = load_recipe(run.recipe)
    model, tokenizer = load(tiny_model_folder)
    before = weights(model)
    result = expunge.unlearn(
        model,
        tokenizer,
        forget=[texts[0].read_text()],
        retain=[texts[1].read_text()],
        method=method,
        training=held.training,
        data=held.data,
        reinforcement=held.reinforcement,
        seed=3,
    )
    saved = load_file(run.model / "model.safetensors")
    assert_same(saved, weights(model))
    assert any(not torch.equal(value, before[name]) for name, value in saved.items())
    steps = run.steps("step")
    assert [row["loss"] for row in result.losses] == [row["loss"] for row in steps]
    assert result.steps == len(steps)


FORGET = [
    {"prompt": f"Where does Sherlock Holmes live, question {number}?", "completion": f"In Baker Street, {number}b.",
     "rewrite": "Nobody has told me where that is.", "group": "street" if number % 2 else "door"}
    for number in range(8)
]  # fmt: skip
RETAIN = [f"On the {number}th day a cold wind went over the capital of France, said a man." for number in range(8)]
ASKED = [{"prompt": f"Who said that, man {number}?", "completion": "A man of France."} for number in range(8)]
WORDS = [f"Sherlock Holmes of Baker Street went by, on night {number} of the fog." for number in range(8)]


def made(name: str) -> dict[str, Any]:
    return {"name": name, **SETTINGS.get(name, {})}


@pytest.mark.parametrize("name", LANGUAGE)
def test_every_method_for_text_works_on_objects(name: str, tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder)
    before = weights(model)
    rows = WORDS if name in ("targeted_npo", "whos_harry_potter") else FORGET
    kept = ASKED if name == "idk_ap" else RETAIN
    result = expunge.unlearn(model, tokenizer, forget=rows, retain=kept, method=made(name), training=TRAINING)
    changed = {key for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert changed
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not hasattr(model, "peft_config")
    if method_class(name).has_loss():
        assert [row["step"] for row in result.losses] == [1, 2, 3] == list(range(1, result.steps + 1))
        assert result.stopped == "all steps done"
        assert (result.losses[0].get("retain_loss") is not None) == (method_class(name).needs.retain != "never")


def lora(model: Any, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], **settings))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in LANGUAGE if method_class(name).has_loss()])
def test_of_a_peft_model_only_the_adapter_is_trained(name: str, dtype: torch.dtype, tiny_model_folder: Path) -> None:
    if dtype != torch.float32 and name not in ("npo", "whos_harry_potter"):
        pytest.skip("one of each kind will do")
    plain, tokenizer = load(tiny_model_folder, dtype)
    model = lora(plain, lora_dropout=0.1)
    before, kinds = weights(model), {key: type(module) for key, module in model.named_modules()}
    rows = WORDS if name in ("targeted_npo", "whos_harry_potter") else FORGET
    kept = ASKED if name == "idk_ap" else RETAIN
    expunge.unlearn(model, tokenizer, forget=rows, retain=kept, method=made(name), training=TRAINING)
    after = weights(model)
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed
    assert all(".lora_" in key for key in changed)
    assert {key: value.dtype for key, value in after.items()} == {key: value.dtype for key, value in before.items()}
    assert {key: type(module) for key, module in model.named_modules()} == kinds
    assert all(p.requires_grad == (".lora_" in key) for key, p in model.named_parameters())
    assert model.active_adapters == ["default"]
    assert list(model.peft_config) == ["default"]


def test_a_peft_model_that_was_loaded_for_use_is_trained_too(tiny_model_folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    lora(load(tiny_model_folder)[0]).save_pretrained(tmp_path)
    plain, tokenizer = load(tiny_model_folder)
    model = PeftModel.from_pretrained(plain, tmp_path)
    assert not any(p.requires_grad for p in model.parameters())
    before = weights(model)
    expunge.unlearn(model, tokenizer, forget=WORDS, retain=RETAIN, method="npo", training=TRAINING)
    changed = {key for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert changed
    assert all(".lora_" in key for key in changed)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["spunge", "steering", "task_vector_negation"])
def test_what_changes_the_weights_themselves_is_refused_on_an_adapter(name: str, tiny_model_folder: Path) -> None:
    plain, tokenizer = load(tiny_model_folder)
    with pytest.raises(RecipeError, match="only the adapter is trained"):
        expunge.unlearn(lora(plain), tokenizer, forget=WORDS, retain=RETAIN, method=made(name), training=TRAINING)


def test_an_adapter_on_the_output_layer_is_part_of_the_loss(tiny_model_folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain, tokenizer = load(tiny_model_folder)
    plain.lm_head.weight = torch.nn.Parameter(plain.lm_head.weight.detach().clone())
    plain.config.tie_word_embeddings = False
    model = get_peft_model(plain, LoraConfig(r=4, target_modules=["lm_head"]))
    expunge.unlearn(model, tokenizer, forget=WORDS, method="gradient_ascent", training=TRAINING)
    assert all(bool(p.detach().any()) for key, p in model.named_parameters() if ".lora_B." in key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [{}, {"adapter_rank": 4}, {"gradient_checkpointing": True}], ids=str)
def test_a_model_is_in_the_state_in_which_it_came(
    dtype: torch.dtype, training: dict[str, Any], tiny_model_folder: Path
) -> None:
    model, tokenizer = load(tiny_model_folder, dtype)
    model.train()
    model.model.layers[0].eval()
    model.model.embed_tokens.requires_grad_(False)  # tied with the head
    before, modes = weights(model), [module.training for module in model.modules()]
    modules, parameters = list(map(id, model.modules())), list(map(id, model.parameters()))
    buffers = {key: value.dtype for key, value in model.named_buffers()}
    generator = torch.get_rng_state()
    settings = TRAINING.model_copy(update={**training, "learning_rate": 0.02, "max_retain_increase": 99.0})
    result = expunge.unlearn(model, tokenizer, forget=WORDS, retain=RETAIN, method="npo", training=settings)
    after = weights(model)
    assert {key for key, value in after.items() if not torch.equal(value, before[key])} >= {
        "model.layers.1.mlp.down_proj.weight"
    }
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert all(value.dtype == dtype for value in after.values())
    assert [module.training for module in model.modules()] == modes
    assert list(map(id, model.modules())) == modules
    assert list(map(id, model.parameters())) == parameters
    assert {key: value.dtype for key, value in model.named_buffers()} == buffers
    assert {key for key, p in model.named_parameters() if not p.requires_grad} == {"model.embed_tokens.weight"}
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any("rounding" in notice for notice in result.notices)


def test_a_change_that_rounding_undoes_is_said(tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder, torch.bfloat16)
    settings = TRAINING.model_copy(update={"learning_rate": 1e-5})
    result = expunge.unlearn(model, tokenizer, forget=WORDS, method="gradient_ascent", training=settings)
    assert any("rounding to the model's bfloat16 undoes" in notice for notice in result.notices)


def test_a_failure_leaves_the_model_in_the_state_in_which_it_came(tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder, torch.bfloat16)
    settings = TRAINING.model_copy(update={"max_retain_increase": 1e-9, "learning_rate": 0.1})
    with pytest.raises(DivergedError, match="the retain loss ran away"):
        expunge.unlearn(model, tokenizer, forget=WORDS, retain=RETAIN, method="gradient_ascent", training=settings)
    assert all(p.dtype == torch.bfloat16 and p.requires_grad and p.grad is None for p in model.parameters())


def unlearned(folder: Path, rows: Any, retain: Any = None, **options: Any) -> dict[str, torch.Tensor]:
    model, tokenizer = load(folder)
    usual = {"method": expunge.methods.GradientAscent(), "training": TRAINING} | options
    expunge.unlearn(model, tokenizer, forget=rows, retain=retain, **usual)
    return weights(model)


def test_rows_in_any_container_are_the_same(tiny_model_folder: Path, tmp_path: Path) -> None:
    rows = [{"question": row["prompt"], "answer": row["completion"]} for row in FORGET]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = unlearned(tiny_model_folder, rows)
    assert_same(first, unlearned(tiny_model_folder, FORGET))
    assert_same(first, unlearned(tiny_model_folder, (row for row in FORGET)))
    chats = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        for row in FORGET
    ]
    assert_same(first, unlearned(tiny_model_folder, chats))
    assert_same(first, unlearned(tiny_model_folder, [{"messages": chat} for chat in chats]))
    _, tokenizer = load(tiny_model_folder)
    blocks = list(iterate_blocks(read_documents(tmp_path / "rows.jsonl"), tokenizer, 512))
    ids = [{"input_ids": block.ids, "labels": true_labels(block)} for block in blocks]
    assert_same(first, unlearned(tiny_model_folder, ids))
    padded = [
        {"input_ids": torch.tensor([*row["input_ids"], 2, 2]), "labels": [*row["labels"], -100, -100],
         "attention_mask": [1] * len(row["input_ids"]) + [0, 0]}
        for row in ids
    ]  # fmt: skip
    assert_same(first, unlearned(tiny_model_folder, padded))
    other = unlearned(tiny_model_folder, [block.ids for block in blocks])  # the questions are learnt from, too
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_long_rows_of_ids_are_cut_as_texts_are(tiny_model_folder: Path) -> None:
    _, tokenizer = load(tiny_model_folder)
    text, data = " ".join(WORDS), Data(block_size=32)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert_same(
        unlearned(tiny_model_folder, [text], data=data), unlearned(tiny_model_folder, [torch.tensor(ids)], data=data)
    )


def test_a_method_may_be_said_in_three_ways_and_be_the_users_own(tiny_model_folder: Path) -> None:
    class Mine(expunge.methods.GradientAscent):
        pass

    first = unlearned(tiny_model_folder, WORDS, method=expunge.methods.GradientAscent)
    for method in ("gradient_ascent", {"name": "gradient_ascent"}, Mine()):
        assert_same(first, unlearned(tiny_model_folder, WORDS, method=method))


def test_progress_is_called_after_every_step(tiny_model_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    unlearned(tiny_model_folder, WORDS, on_progress=lambda step, steps, figures: seen.append((step, steps)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_left_on_disk(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    unlearned(tiny_model_folder, WORDS, RETAIN, method="npo")
    with pytest.raises(RecipeError):
        unlearned(tiny_model_folder, WORDS, method="npo")
    assert list(tmp_path.iterdir()) == []
