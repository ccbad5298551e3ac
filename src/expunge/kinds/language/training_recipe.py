"""The training settings of a language model's recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from expunge.core.settings import Part


class Training(Part):
    """The unlearning loop; names as in transformers.TrainingArguments."""

    learning_rate: PositiveFloat = 2e-5
    "highest learning rate, reached after the warm-up"
    num_train_epochs: PositiveFloat = 2.0
    "passes over the forget set; for a topic, over its answers and their further forms"
    max_steps: PositiveInt | None = None
    "at most this many optimizer steps; training ends earlier if the epochs are over"
    stop_step: PositiveInt | None = None
    """end after this step, with the schedule of all steps; a run that the guard stopped can resume with it in the same
    folder"""
    per_device_train_batch_size: PositiveInt = 4
    "blocks of each set in a batch"
    gradient_accumulation_steps: PositiveInt = 1
    "batches in an optimizer step: equivalent to one batch of that many times the size, in less memory"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    "share of the steps over which the learning rate rises"
    weight_decay: NonNegativeFloat = 0.0
    "of AdamW"
    optim: Literal["adamw_torch", "adamw_bnb_8bit"] = "adamw_torch"
    "AdamW with float32 moments, or with moments in 8 bits (bitsandbytes; Dettmers et al. 2022, arXiv:2110.02861)"
    weight_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the trained weights and their gradients; in bfloat16 each update is rounded up or down at random,
    so that small ones count (stochastic rounding; Zamirai et al. 2020, arXiv:2010.06192)"""
    first_layer: NonNegativeInt = 0
    "train this layer (from 0) and those above; unless it is 0, neither embeddings nor head nor the layers below"
    adapter_rank: PositiveInt | None = None
    "train a LoRA adapter of this rank, merged into the weights at the end; default: train the weights themselves"
    adapter_alpha: PositiveFloat | None = None
    "scale of the adapter, which is divided by its rank; default: twice the rank"
    adapter_targets: str | None = None
    "regular expression of the names of matrices that get an adapter; default: all of the text tower's layers"
    adapter_dropout: float = Field(default=0.0, ge=0, lt=1)
    "share of the adapter's inputs dropped in a step"
    adapter_variant: Literal["lora", "rslora", "dora"] = "lora"
    "rslora divides the scale by the rank's square root; dora learns a magnitude for each output too"
    quantization: Literal["8bit", "4bit"] | None = None
    """keep the weights under an adapter in 8 or 4 bits (bitsandbytes; QLoRA); the adapter is merged into the
    unquantised ones"""
    gradient_checkpointing: bool = False
    "recompute each layer in the backward pass instead of keeping its states: less memory, a third more time"
    max_grad_norm: PositiveFloat = 1.0
    "gradients are clipped to this norm"
    bf16: Literal["auto"] | bool = "auto"
    "bfloat16 autocast; auto: if the processor or accelerator has it natively"
    probe_steps: PositiveInt = 4
    "measure the probe prompts' token probabilities every this many steps"
    save_seconds: PositiveFloat = 60.0
    "write a checkpoint at most this often"
    stop_forget_loss: PositiveFloat | None = None
    "stop once the forget set's true tokens have reached this mean negative log-likelihood (nats a token)"
    evaluate_every: PositiveInt | None = None
    """evaluate a few texts of the forget, held-out, retain and ordinary text every this many steps; default: every
    `probe_steps` if training stops by these, else never"""
    keep: Literal["best", "last"] = "best"
    """if training is evaluated: save the step that forgot most among those that keep the verdict's limits of
    perplexity, or the last step"""
    stop_at: Literal["auto", "none", "holdout", "margin"] = "auto"
    """stop once the forget set's loss reaches that of held-out text (`holdout`), or the true token is no longer
    likelier than the others (margin); auto: holdout, for methods whose loss falls without end, if held-out text is
    given"""
    stop_margin_share: float = Field(default=0.475, gt=0, lt=1)
    """with stop_at margin: the mean share of a text's tokens that may still have a margin (MASC, arXiv:2606.02920:
    0.475 in the authors' runs on TOFU, 0.55 on MUSE News)"""
    max_retain_increase: PositiveFloat = 0.5
    "stop, keeping the last good checkpoint, if the retain loss rises this far (nats a token) above its start"

    @property
    def bits(self) -> int | None:
        """The dtype of frozen weights under an adapter; None: their stored dtype."""
        return None if self.quantization is None else int(self.quantization[0])

    @model_validator(mode="after")
    def _quantised_under_an_adapter(self) -> Training:
        if self.quantization is not None and (self.adapter_rank is None or self.adapter_variant == "dora"):
            raise ValueError(
                "quantization is for the weights under an adapter: give adapter_rank too (adapter_variant lora or rslora)"
            )
        return self

    @model_validator(mode="after")
    def _narrow_without_an_adapter(self) -> Training:
        if self.weight_dtype != "float32" and self.adapter_rank is not None:
            raise ValueError(
                "weight_dtype is for training the weights themselves: under an adapter they keep their stored type "
                ", and the adapter is float32; leave weight_dtype or adapter_rank out"
            )
        return self


LATER = (
    "stop_step",
    "adapter_alpha",
    "adapter_targets",
    "adapter_dropout",
    "adapter_variant",
    "quantization",
    "optim",
    "weight_dtype",
    "evaluate_every",
    "keep",
    "stop_at",
    "stop_margin_share",
)
"fields of `Training` that came later: models made before still match if these have their defaults"


def said(training: Training) -> dict[str, Any]:
    """The settings that determine the weights; later fields only if they are not the default.

    Gradient checkpointing changes no weight.
    """
    later = training.model_dump(include=set(LATER), exclude_defaults=True)
    return training.model_dump(exclude={"save_seconds", "gradient_checkpointing", *LATER}) | later


def reinforcement_said(reinforcement: Part) -> dict[str, Any]:
    """The same of the recipe's `reinforcement`."""
    later = {"gradient_accumulation_steps"}
    return reinforcement.model_dump(exclude=later) | reinforcement.model_dump(include=later, exclude_defaults=True)
