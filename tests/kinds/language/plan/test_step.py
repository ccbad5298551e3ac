"""What a step takes: by hand, against a real step, and against torch's own counters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_plan import (
    HEADS,
    INNER,
    KEYS,
    VOCABULARY,
    WIDTH,
    config,
    layer_matrices,
    look,
    parameters,
    setting,
    training_step,
)
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig

from expunge.kinds.language.plan import depth
from expunge.kinds.language.plan.fakes import FakeLM, build, fakes
from expunge.kinds.language.plan.following import Following
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.task import CausalLM
from expunge.models.language_kind import LanguageKind
from expunge.ops.narrow import hold_narrow
from expunge.ops.quantised import hold_quantised
from tiny import ignore_log, random_blocks, write_table


def test_weights_gradients_and_moments_take_sixteen_bytes_a_parameter() -> None:
    taken = training_step(setting())
    assert taken.numbers["weights"] == taken.numbers["trained"] == parameters(2)
    # After the backward pass these are left, with the batches and the constants of the rotary embedding.
    assert 16 * parameters(2) <= taken.peaks["update"] <= 16 * parameters(2) * 1.05


def test_moments_in_8_bits_take_two_bytes_a_parameter() -> None:
    wide, narrow = (training_step(setting(optim=each)).peaks["update"] for each in ("adamw_torch", "adamw_bnb_8bit"))
    small = 5 * WIDTH + 2 * 2 * KEYS * WIDTH // HEADS * WIDTH  # norms, and what makes keys and values
    assert wide - narrow == pytest.approx((parameters(2) - small) * (8 - 2 - 8 / 256), rel=0.02)


@pytest.mark.parametrize(("optim", "moments"), [("adamw_torch", 8), ("adamw_bnb_8bit", 2)])
def test_weights_in_bfloat16_take_four_bytes_with_their_gradients(optim: str, moments: int) -> None:
    taken = training_step(setting(weight_dtype="bfloat16", optim=optim))
    norms = 5 * WIDTH
    small = norms + (2 * 2 * KEYS * WIDTH // HEADS * WIDTH if moments == 2 else 0)  # moments in float32 in any case
    left = 4 * parameters(2) + 4 * norms + moments * parameters(2) + (8 - moments) * small
    assert taken.numbers["trained"] == parameters(2)
    scratch = 17 * VOCABULARY * WIDTH  # of the largest, which is less than a piece
    assert left + scratch <= taken.peaks["update"] <= (left + scratch) * 1.05
    assert taken.peak < training_step(setting(optim=optim)).peak


def test_gradients_of_earlier_batches_and_buckets_of_processes_count() -> None:
    gradients = 4 * parameters(2)
    one_pass = partial(setting, 2, "gradient_ascent")
    alone = training_step(one_pass(gradient_checkpointing=True))
    assert training_step(one_pass(gradient_accumulation_steps=2)).peak > training_step(one_pass()).peak
    shared = training_step(replace(one_pass(gradient_checkpointing=True), processes=2))
    assert shared.peak == alone.peak + gradients


def test_the_second_set_begins_where_the_first_has_left_its_gradients() -> None:
    """Of one process; several make both sets' passes in one call of the model, and hold what both need."""
    first, alone = training_step(setting(2, "gradient_ascent")).peak, training_step(setting()).peak
    together = training_step(replace(setting(), processes=2)).peak - 4 * parameters(2)
    assert first < alone < together


def test_an_adapter_holds_frozen_weights_in_the_stored_type() -> None:
    rank, head = 4, WIDTH // HEADS
    taken = training_step(setting(adapter_rank=rank))
    added = 2 * (rank * 2 * (2 * WIDTH) + rank * 2 * (WIDTH + 2 * head) + 3 * rank * (WIDTH + INNER))
    assert taken.numbers["trained"] == added
    norms = 2 * 2 * WIDTH + WIDTH
    stored = 2 * (parameters(2) - norms) + 4 * norms + 4 * added
    assert stored <= taken.numbers["weight_bytes"] <= stored + 200  # and the rotary embedding's constants


@pytest.mark.parametrize(
    ("method", "training"),
    [
        ("gradient_difference", {}),
        pytest.param("gradient_difference", {"gradient_checkpointing": True}, marks=pytest.mark.long),
        ("simnpo", {"adapter_rank": 4}),
        ("fine_tune", {"adapter_rank": 4, "gradient_checkpointing": True}),
        ("gradient_difference", {"gradient_accumulation_steps": 2}),
        ("gradient_difference", {"adapter_rank": 4, "quantization": "4bit"}),
        ("npo_sam", {}),
        pytest.param("gradient_difference", {"weight_dtype": "bfloat16"}, marks=pytest.mark.long),
        ("simnpo", {"weight_dtype": "bfloat16", "gradient_checkpointing": True}),
    ],
)
def test_a_real_step_takes_what_was_predicted(method: str, training: dict[str, Any], tmp_path: Path) -> None:
    deep = 5 if "quantization" in training else 3  # where four bits are unpacked matters the less, the more layers
    wanted = setting(deep, method, **training)
    adapted, ids = "adapter_rank" in training, torch.zeros(1, 4, dtype=torch.long)
    real = AutoModelForCausalLM.from_config(config(deep), dtype=torch.bfloat16 if adapted else torch.float32).eval()
    if wanted.rounds:
        hold_narrow(real, lambda: real(input_ids=ids, use_cache=False), trained=torch.bfloat16)
    if adapted:
        names = hold_narrow(real, lambda: real(input_ids=ids, use_cache=False))
        if (bits := wanted.training.bits) is not None:
            layers = [real.get_submodule(name) for name in names if name.startswith("model.layers.")]
            hold_quantised({str(n): m for n, m in enumerate(layers)}, bits, real.device)
    table = write_table(tmp_path / "table", random_blocks([32] * 16))
    table = table.with_signal("reference_nll", lookup(np.full(16, 190.0), "example", table))
    limits = {"max_steps": 2, "max_retain_increase": 1e9}
    work = LanguageWork(
        task=CausalLM(real, None),
        forget=table,
        retain=table,
        training=wanted.training.model_copy(update=limits),
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
        originals=lambda: AutoModelForCausalLM.from_config(config(deep), dtype=torch.bfloat16),
    )
    followed = Following()
    followed.add([*real.parameters(), *real.buffers()])
    with followed:
        work.carry_out(wanted.method)
    assert max(followed.peaks.values()) == pytest.approx(training_step(wanted).peak, rel=0.03)


def test_four_bits_take_a_quarter_of_sixteen() -> None:
    wide = training_step(setting(adapter_rank=4)).numbers
    narrow = training_step(setting(adapter_rank=4, quantization="4bit")).numbers
    saved = 2 * layer_matrices() * (2 - 0.5)
    scales = 2 * layer_matrices() / 64
    assert narrow["weight_bytes"] == pytest.approx(wide["weight_bytes"] - saved + scales, rel=0.01)
    assert narrow["trained"] == wide["trained"]


def test_what_is_looked_at_is_held_narrow_where_products_are_narrow() -> None:
    wide, narrow = look(setting()).numbers, look(setting(bf16=True)).numbers
    assert narrow["weight_bytes"] == pytest.approx(wide["weight_bytes"] / 2, rel=0.02)


def test_a_process_that_holds_a_part_looks_with_one_layer_whole() -> None:
    whole, part = look(setting(6)), look(replace(setting(6), processes=4, fsdp="shard"))
    layer = 4 * (parameters(2) - parameters(1))
    saved = 6 * layer - 6 * layer // 4 - layer
    assert whole.numbers["held"] - part.numbers["held"] == whole.peak - part.peak == saved
    assert part.numbers["weight_bytes"] == whole.numbers["weight_bytes"]
    kept = look(replace(setting(6), processes=4, fsdp="shard", divides=False))
    assert kept.numbers["held"] == whole.numbers["held"]


def test_torch_counts_the_same_bytes() -> None:
    with fakes(32):
        model = build(setting().model, torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        ours, theirs = Following(), MemTracker()
        ours.add([*model.parameters(), *model.buffers()])
        theirs.track_external(model, optimizer)

        def step() -> None:
            hidden = model.model(input_ids=torch.zeros(2, 32, dtype=torch.long), use_cache=False).last_hidden_state
            hidden.square().sum().backward()
            optimizer.step()

        with theirs:
            step()
        found = next(iter(theirs.get_tracker_snapshot("peak").values()))["Total"]
        model.zero_grad()
        optimizer.state.clear()
        with ours:
            step()
    # It counts every tensor in whole pieces of 512 bytes.
    assert max(ours.peaks.values()) <= found <= max(ours.peaks.values()) * 1.05


def test_flops_by_hand_and_by_torch() -> None:
    wanted = setting()
    tokens, rows = 32, 31
    attention = 4 * tokens * tokens * WIDTH  # scores and what they weigh, over all places
    by_hand = 2 * (2 * tokens * layer_matrices() + attention) + 2 * rows * VOCABULARY * WIDTH
    assert look(wanted).numbers["flops"] == by_hand
    counter, ids = FlopCounterMode(display=False), torch.ones(1, 32, dtype=torch.long)
    real = AutoModelForCausalLM.from_config(config(), attn_implementation="eager").eval()
    with counter, torch.no_grad():
        real(input_ids=ids)
    assert counter.get_total_flops() == by_hand + 2 * VOCABULARY * WIDTH  # the last place has logits, too


@pytest.mark.parametrize(
    ("training", "bf16"),
    [
        ({}, False),
        pytest.param({"gradient_checkpointing": True}, True, marks=pytest.mark.long),
        pytest.param({"adapter_rank": 4}, True, marks=pytest.mark.long),
        # A real step with both is followed above.
        pytest.param({"adapter_rank": 4, "gradient_checkpointing": True}, False, marks=pytest.mark.long),
    ],
)
def test_two_shallow_models_say_what_a_deep_one_takes(training: dict[str, Any], bf16: bool) -> None:
    wanted = setting(6, bf16=bf16, **training)
    whole, said = training_step(wanted), depth.of_training(wanted)
    assert (said.peak, said.numbers) == (whole.peak, whole.numbers)
    assert depth.of_looking(wanted).peak == look(wanted).peak


def test_layers_that_differ_are_taken_as_they_are() -> None:
    kinds = ["full_attention", "sliding_attention"] * 3
    mixed = config(6)
    mixed.layer_types = kinds
    assert depth.period_of(LanguageKind("AutoModelForCausalLM", mixed)) == 2
    mixed.layer_types = [*kinds[:5], "full_attention"]
    assert depth.period_of(LanguageKind("AutoModelForCausalLM", mixed)) is None
    assert depth.period_of(setting(6).model) == 1


def test_more_blocks_take_more_and_each_option_takes_less() -> None:
    peaks = [training_step(setting(per_device_train_batch_size=size)).peak for size in (1, 2, 4)]
    assert peaks == sorted(set(peaks))
    full, checkpointed = peaks[2], setting(per_device_train_batch_size=4, gradient_checkpointing=True)
    assert training_step(checkpointed).peak < full
    adapter = setting(per_device_train_batch_size=4, adapter_rank=4)
    assert training_step(adapter).peak < full


def test_layers_below_those_trained_hold_no_states() -> None:
    assert training_step(setting(4, first_layer=3)).peak < training_step(setting(4)).peak / 2


@pytest.mark.parametrize("method", ["npo", "dpo", "jensun", "targeted_npo", "rmu", "whos_harry_potter"])
def test_every_loss_can_be_planned(method: str) -> None:
    layers = 8 if method == "rmu" else 1  # it looks at the eighth
    taken = training_step(setting(layers, method))
    assert taken.peak > 4 * parameters(layers)


@pytest.mark.parametrize(
    ("other", "plain"),
    [
        (GPT2Config(n_embd=64, n_head=4, n_layer=2, vocab_size=500, n_positions=64), True),
        (OPTConfig(hidden_size=64, ffn_dim=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=500), True),
        (config(), True),
    ],
)
def test_a_plain_head_is_seen_without_values(other: Any, plain: bool) -> None:
    with fakes(32):
        task = FakeLM(build(LanguageKind("AutoModelForCausalLM", other), torch.float32))
    assert task.plain_head == plain


def test_a_capped_head_is_seen_without_values() -> None:
    from transformers import Gemma2Config

    capped = Gemma2Config(
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_hidden_layers=2,
        vocab_size=500,
    )
    with fakes(32):
        assert not FakeLM(build(LanguageKind("AutoModelForCausalLM", capped), torch.float32)).plain_head
