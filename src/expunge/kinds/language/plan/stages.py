"""The stages of a run: peak memory and operations of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expunge.kinds.language.elicitation.asking import ANSWER_TOKENS
from expunge.kinds.language.inputs import MAX_PROMPTS
from expunge.kinds.language.measures.prompts import CONTEXT
from expunge.kinds.language.measures.recall import PREFIX, SUFFIX
from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.model import Amount
from expunge.kinds.language.plan.step import Setting, Taken
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.sampling import ROWS
from expunge.kinds.language.signals.alternatives import Alternatives
from expunge.kinds.language.signals.instead import InsteadReferenceNLL
from expunge.kinds.language.signals.registry import signals_of
from expunge.kinds.language.signals.retain_labels import RetainLabels
from expunge.kinds.language.training import plan_steps

GENERATED = 64
"texts that are generated together"
WIDE = 4
"bytes of a float32"
GENERAL_QUESTIONS = 59
"questions of general knowledge asked of every model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: description.
        peak: bytes on one device, at most.
        tokens: tokens that the model reads or writes.
        flops: operations of all devices together.
        read: bytes of weights read to write texts, token by token, which determines the time.
        devices: number of devices that share the work.
        updated: weights that are updated, over all steps.
        trains: whether options of the training change it.
        how: what is estimated, and how.
    """

    name: str
    peak: int
    tokens: int
    flops: int
    read: int = 0
    devices: int = 1
    updated: int = 0
    trains: bool = False
    how: str = ""

    def seconds(self, device: Device) -> float | None:
        """Time on a device; None if its speed is unknown."""
        if self.flops == 0:
            return 0.0
        if device.speed is None:
            return None
        computing = self.flops / device.speed / self.devices + self.updated * device.update
        return max(computing, self.read / device.bandwidth) if device.bandwidth else computing

    def row(self, device: Device) -> dict[str, Any]:
        """As JSON."""
        seconds = self.seconds(device)
        return {
            "stage": self.name,
            "peak_bytes": self.peak,
            "tokens": self.tokens,
            "flops": self.flops,
            "seconds": None if seconds is None else round(seconds, 1),
            "estimated": self.how,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Inputs of the stages: settings, amounts, and the cost of a training step and of scoring.

    Attributes:
        reinforced: cost of a step of the reinforced model, if the method makes one.
        stored: bytes of the base model as it is stored.
        main_memory: whether the device's memory is the machine's own.
    """

    recipe: Recipe
    setting: Setting
    forget: Amount
    retain: Amount
    step: Taken
    look: Taken
    reinforced: Taken | None
    stored: int = 0
    main_memory: bool = False

    @property
    def held(self) -> int:
        """Bytes of the weights that a device holds without training."""
        return self.look.numbers["held"]

    @property
    def read(self) -> int:
        """Bytes of the weights that process a token."""
        return self.look.numbers["weight_bytes"]

    @property
    def wide(self) -> int:
        """Bytes of the weights in float32."""
        return self.look.numbers["weights"] * WIDE

    @property
    def flops_a_token(self) -> float:
        """Operations of a forward pass."""
        return self.look.numbers["flops"] / self.setting.block_size

    def steps(self) -> int:
        """Optimizer steps of the unlearning."""
        training = self.setting.training
        main = self.forget if self.setting.method.needs.forget else self.retain
        planned = plan_steps(training, main.batches(training.per_device_train_batch_size), self.setting.processes)
        return min(planned, training.stop_step or planned)

    def sets(self) -> list[Amount]:
        """The sets that a step draws from."""
        drawn = [self.forget] if self.setting.method.needs.forget else []
        return [*drawn, self.retain] if self.setting.method.draws_retain else drawn

    def drawn_blocks(self) -> int:
        """Blocks of a set that training draws."""
        training = self.setting.training
        together = training.per_device_train_batch_size * training.gradient_accumulation_steps
        return self.steps() * together * self.setting.processes


def stages(work: Work) -> list[Stage]:
    """All stages of a run, in order."""
    measured = _measuring(work, "measuring the base model", sides=2)
    found = [_asking(work), measured, *_signals(work), _unlearning(work), _saving(work)]
    return [each for each in [*found, _measuring(work, "measuring the unlearned model", sides=1)] if each is not None]


def _written(work: Work, tokens: int) -> int:
    """Bytes while generating texts of `tokens` tokens in all: weights, narrow copies of wide ones, keys and values."""
    copied = work.setting.bf16 and work.setting.looked_at is None and not work.setting.divided
    copies = work.wide // 2 if copied else 0
    return work.held + copies + _states_of_attention(work, tokens)


def _states_of_attention(work: Work, tokens: int) -> int:
    """Bytes of the keys and values of `tokens` tokens, in all layers."""
    text = work.setting.model.config.get_text_config(decoder=True)
    heads = getattr(text, "num_attention_heads", 1)
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    heads = getattr(text, "num_key_value_heads", None) or heads
    return 2 * text.num_hidden_layers * heads * width * tokens * (2 if work.setting.bf16 else WIDE)


def _asking(work: Work) -> Stage | None:
    recipe = work.recipe
    answers = recipe.data.retain_answers
    answers += 0 if recipe.evaluation.ordinary_text is not None else recipe.evaluation.max_blocks
    if recipe.forget_kind == "topic":
        answers += recipe.data.elicited_answers * len(recipe.targets) + recipe.evaluation.control_answers
    if not answers:
        return None
    tokens = answers * ANSWER_TOKENS
    groups = -(-answers // GENERATED)
    return Stage(
        name="asking the model",
        peak=_written(work, GENERATED * 2 * ANSWER_TOKENS),
        tokens=tokens,
        flops=round(tokens * work.flops_a_token),
        read=groups * ANSWER_TOKENS * work.read,
        how=f"{answers} answers of {ANSWER_TOKENS} tokens, {GENERATED} at once; discarded ones are not counted",
    )


def _measuring(work: Work, name: str, sides: int) -> Stage:
    """Perplexity, recall, familiarity, general knowledge.

    Args:
        sides: 2 if familiarity is also measured on the control.
    """
    settings, size = work.recipe.evaluation, work.setting.block_size
    scored = settings.max_blocks * round(work.forget.mean + work.retain.mean + min(size, ANSWER_TOKENS))
    recited = 2 * min(32, settings.max_blocks)
    texts = [(recited, PREFIX, SUFFIX), (GENERAL_QUESTIONS, PREFIX, 16)]
    if settings.familiarity:
        prompts = sides * (settings.max_prompts or MAX_PROMPTS)
        scored += prompts * CONTEXT
        texts.append((prompts * (1 + settings.samples), CONTEXT, settings.max_new_tokens))
    tokens = scored + sum(count * (prompt + new) for count, prompt, new in texts)
    longest = max(prompt + new for _, prompt, new in texts)
    together = GENERATED * max(1, settings.samples)
    left_out = [each for each in ("benchmarks", "questions") if getattr(settings, each) is not None]
    left_out += ["toxicity"] if work.recipe.toxicity.prompts is not None else []
    return Stage(
        name=name,
        peak=max(work.look.peak, _written(work, together * longest)),
        tokens=tokens,
        flops=round(tokens * work.flops_a_token),
        read=sum(-(-count // GENERATED) * new for count, _, new in texts) * work.read,
        how=f"not counted: {', '.join(left_out)}" if left_out else "",
    )


def _signals(work: Work) -> list[Stage]:
    method = work.setting.method
    wanted = signals_of(method.carried_out)
    found = [] if work.reinforced is None else [_reinforcing(work, work.reinforced)]
    tokens, names = 0, []
    for signal in wanted:
        amount = work.forget if signal.set == "forget" else work.retain
        if isinstance(signal, RetainLabels) and signal.target == "text" and work.recipe.retain is not None:
            continue
        blocks = amount.blocks if signal.set == "forget" else min(amount.blocks, work.drawn_blocks())
        if isinstance(signal, Alternatives):
            found.append(_writing(work, signal, blocks, amount.mean))
            continue
        if isinstance(signal, InsteadReferenceNLL):
            blocks *= signal.instead().count
        tokens += round(blocks * amount.mean) * (3 if signal.reinforced else 1)
        names.append(signal.name)
    if names:
        found.append(
            Stage(
                name="labels and signals",
                peak=work.look.peak,
                tokens=tokens,
                flops=round(tokens * work.flops_a_token),
                how=", ".join(names),
            )
        )
    return found


def _writing(work: Work, signal: Alternatives, blocks: int, mean: float) -> Stage:
    answers = blocks * signal.count
    tokens = round(blocks * mean) + answers * signal.tokens
    return Stage(
        name="writing other answers",
        peak=_written(work, round(ROWS * (mean + signal.tokens))),
        tokens=tokens,
        flops=round(tokens * work.flops_a_token),
        read=-(-answers // ROWS) * signal.tokens * work.read,
        how=f"{answers} answers of {signal.tokens} tokens, {ROWS} at once",
    )


def _reinforcing(work: Work, taken: Taken) -> Stage:
    settings, processes = work.recipe.reinforcement, work.setting.processes
    fields = ("num_train_epochs", "max_steps", "gradient_accumulation_steps")
    own = Training(**{name: getattr(settings, name) for name in fields})
    steps = plan_steps(own, work.forget.batches(settings.per_device_train_batch_size), processes)
    blocks = steps * settings.per_device_train_batch_size * own.gradient_accumulation_steps * processes
    fill = work.forget.mean / work.setting.block_size
    peak = taken.peak
    if not settings.adapter:  # the base is there, too
        if work.setting.fsdp is not None and not work.setting.divided:  # waits in main memory until labels are made
            peak = max(peak, work.look.peak + work.wide)
        else:
            peak += work.wide * work.held // work.read
    return Stage(
        name="the reinforced model",
        peak=peak,
        tokens=round(blocks * work.forget.mean),
        flops=round(steps * processes * taken.numbers["flops"] * fill),
        devices=processes,
        updated=steps * taken.numbers["trained"],
        trains=True,
        how=f"{steps} steps",
    )


def _unlearning(work: Work) -> Stage:
    setting, sets, steps = work.setting, work.sets(), work.steps()
    fill = sum(each.mean for each in sets) / (len(sets) * setting.block_size)
    return Stage(
        name="unlearning",
        peak=work.step.peak,
        tokens=round(work.drawn_blocks() * sum(each.mean for each in sets)),
        flops=round(steps * setting.processes * work.step.numbers["flops"] * fill),
        devices=setting.processes,
        updated=steps * work.step.numbers["trained"],
        trains=True,
        how=f"{steps} steps, with the method's own loss" if setting.method.has_loss() else "as one training of the set",
    )


def _saving(work: Work) -> Stage:
    """An adapter is merged into float32 weights; whether rounding is safe is checked against the base model.

    Quantised frozen weights go to main memory for that, and so does the base model. For a sharded model,
    one tensor after the other is gathered.
    """
    if work.setting.divided:
        parts = work.step.numbers["weight_bytes"] // work.setting.processes
        one = work.look.numbers["largest"] * WIDE
        added = work.step.numbers["trained"] * WIDE if work.setting.adapted else 0
        return Stage(name="saving", peak=work.held + parts + added + 2 * one, tokens=0, flops=0, trains=True)
    held = work.step.numbers["weight_bytes"]
    added = work.step.numbers["trained"] * WIDE if work.setting.adapted else 0
    wide = held if work.setting.rounds else work.wide
    peak = wide + added + work.stored if work.main_memory else held + added
    return Stage(name="saving", peak=peak, tokens=0, flops=0, trains=True)
