"""Values that official code gives, held here as constants with their source."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.kinds.language.task import CausalLM
from expunge.methods.rmu import RMU
from expunge.methods.simnpo import SimNPO
from expunge.train.step import Step
from tiny import make_batch, random_blocks


def nine_layers() -> CausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=9,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return CausalLM(LlamaForCausalLM(config).eval(), None)  # type: ignore[arg-type]


def test_rmu_trains_the_layers_of_the_papers_runs() -> None:
    """centerforaisafety/wmdp, run_rmu_zephyr.ipynb and rmu/unlearn.py: layer_id 7, layer_ids 5,6,7, down_proj alone."""
    task = nine_layers()
    trained = [name for name, _ in task.model.named_parameters() if RMU().trains(name)]
    assert trained == [f"model.layers.{layer}.mlp.down_proj.weight" for layer in (5, 6, 7)]


def test_rmu_looks_at_the_output_of_the_papers_layer() -> None:
    """There a hook on `layers[7]` takes its output."""
    task = nine_layers()
    batch = make_batch(random_blocks([6], seed=1))
    seen: list[torch.Tensor] = []
    hook = task.layers[7].register_forward_hook(lambda _module, _given, said: seen.append(said))
    with torch.no_grad():
        task.model(batch.ids)
    hook.remove()
    assert torch.equal(task.hidden(batch, RMU().layer), seen[0][0])


@pytest.mark.parametrize(
    ("beta", "gamma", "value"),
    [
        # -2 / beta * logsigmoid(beta * (nll / |y| - gamma)): OPTML-Group/Unlearn-Simple, TOFU/dataloader.py, and
        # locuslab/open-unlearning, src/trainer/unlearn/simnpo.py, at nll / |y| = 3; with gamma outside beta, as in the
        # paper's equation 4, the first is 1.8963
        (0.5, 1.0, 1.2530),
        (4.5, 0.0, 6.1e-7),
    ],
)
def test_simnpos_margin_stands_where_the_authors_code_has_it(beta: float, gamma: float, value: float) -> None:
    task = SimpleNamespace(
        example_nll=lambda batch: torch.tensor([12.0]), example_rows=lambda batch: torch.tensor([4.0])
    )
    batch = SimpleNamespace(examples=1.0)
    method = SimNPO(beta=beta, gamma=gamma, forget_weight=1.0, retain_weight=0.0)
    loss = method.loss(Step(task, batch, None))  # type: ignore[arg-type]
    assert loss.total.item() == pytest.approx(value, rel=2e-3)
