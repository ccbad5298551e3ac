"""The part of a recipe that says how a language model is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from expunge.core.settings import Part


class Training(Part):
    """The unlearning loop; names as in transformers.TrainingArguments."""

    learning_rate: PositiveFloat = 2e-5
    "highest learning rate, reached after the warm-up"
    num_train_epochs: PositiveFloat = 2.0
    "passes over the forget set; of a topic, over its answers and their further forms"
    max_steps: PositiveInt | None = None
    "at most this many optimizer steps; training ends earlier where the epochs are over"
    stop_step: PositiveInt | None = None
    "end after this step, with the learning rates of all steps; a run that the guard stopped resumes with it in its folder"
    per_device_train_batch_size: PositiveInt = 4
    "blocks of each set in a batch"
    gradient_accumulation_steps: PositiveInt = 1
    "batches in an optimizer step: as one batch of so many times the size, in less memory"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    "share of the steps over which the learning rate rises"
    weight_decay: NonNegativeFloat = 0.0
    "of AdamW"
    optim: Literal["adamw_torch", "adamw_bnb_8bit"] = "adamw_torch"
    "AdamW with float32 moments, or with moments in 8 bits (bitsandbytes; Dettmers et al. 2022, arXiv:2110.02861)"
    weight_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the weights that are trained, and of their gradients; in bfloat16 each update is rounded up or down by chance,
    so that small ones count (stochastic rounding; Zamirai et al. 2020, arXiv:2010.06192)"""
    first_layer: NonNegativeInt = 0
    "train this layer (from 0) and those above; unless it is 0, neither embeddings nor head nor the layers below"
    adapter_rank: PositiveInt | None = None
    "train a LoRA adapter of this rank, merged into the weights at the end; default: train the weights themselves"
    adapter_alpha: PositiveFloat | None = None
    "scale of the adapter, which is divided by its rank; default: twice the rank"
    adapter_targets: str | None = None
    "regular expression of the matrices that get an adapter, found in their names; default: all of the text tower's layers"
    adapter_dropout: float = Field(default=0.0, ge=0, lt=1)
    "share of the adapter's inputs that is dropped in a step"
    adapter_variant: Literal["lora", "rslora", "dora"] = "lora"
    "rslora divides the scale by the rank's square root; dora learns a magnitude for each output too"
    quantization: Literal["8bit", "4bit"] | None = None
    "hold the weights under an adapter in 8 or 4 bits (bitsandbytes; QLoRA); the adapter is merged into the unquantised ones"
    gradient_checkpointing: bool = False
    "compute each layer again in the backward pass in place of keeping its states: less memory, a third more time"
    max_grad_norm: PositiveFloat = 1.0
    "gradients are clipped to this norm"
    bf16: Literal["auto"] | bool = "auto"
    "bfloat16 autocast; auto: where the processor or accelerator has it natively"
    probe_steps: PositiveInt = 4
    "measure the probe prompts' token probabilities every so many steps"
    save_seconds: PositiveFloat = 60.0
    "write a checkpoint at most this often"
    stop_forget_loss: PositiveFloat | None = None
    "stop once the forget set's true tokens have reached this mean negative log-likelihood (nats a token)"
    evaluate_every: PositiveInt | None = None
    """look every so many steps at a few texts of the forget set, of held-out, retain and ordinary text; default: every
    `probe_steps` where training stops at what is seen there, else never"""
    keep: Literal["best", "last"] = "best"
    """of a training that is evaluated: save the step that forgot most among those that keep the verdict's limits of
    perplexity, or the last step"""
    stop_at: Literal["auto", "none", "holdout", "margin"] = "auto"
    """stop once the forget set's loss is that of held-out text (`holdout`), or the true token is no longer likelier than the
    others (margin); auto: holdout, for methods whose loss falls without end, where held-out text is given"""
    stop_margin_share: float = Field(default=0.475, gt=0, lt=1)
    """with stop_at margin: the share of a text's tokens, on average, that may still have a margin (MASC, arXiv:2606.02920:
    0.475 in the authors' runs on TOFU, 0.55 on MUSE News)"""
    max_retain_increase: PositiveFloat = 0.5
    "stop, keeping the last good checkpoint, where the retain loss rises this far (nats a token) above its start"

    @property
    def bits(self) -> int | None:
        """In which frozen weights are held under an adapter; None: in the type that they are stored in."""
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
                "weight_dtype is for training the weights themselves: under an adapter they are held in the type that they "
                "are stored in, and the adapter is float32; leave weight_dtype or adapter_rank out"
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
"fields of `Training` that came later: models made before are made from the same still, where these have their defaults"


def said(training: Training) -> dict[str, Any]:
    """What decides which weights come out; fields that came later only where they are not the default.

    Checkpointing changes no weight.
    """
    later = training.model_dump(include=set(LATER), exclude_defaults=True)
    return training.model_dump(exclude={"save_seconds", "gradient_checkpointing", *LATER}) | later


def reinforcement_said(reinforcement: Part) -> dict[str, Any]:
    """The same of the recipe's `reinforcement`."""
    later = {"gradient_accumulation_steps"}
    return reinforcement.model_dump(exclude=later) | reinforcement.model_dump(include=later, exclude_defaults=True)
