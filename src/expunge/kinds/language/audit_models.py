"""The models of an audit: loaded on use, and released when another one is used."""

from __future__ import annotations

from typing import Any

from expunge.errors import ModelError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.task import CausalLM
from expunge.models.beside import keeps_of
from expunge.models.source import configuration


class AuditModels:
    """The base model, the audited one, and the control if it is a model. Memory holds few large ones: one is held
    at a time, with the base as well if an attack needs both.

    Raises:
        ModelError: one of them does not write the same tokens as the base, so that it cannot be asked for the same
            facts.
    """

    def __init__(self, base: LazyModel, subject: LazyModel, retrained: LazyModel | None) -> None:
        self.base, self.subject, self.retrained = base, subject, retrained
        for model in (subject, retrained):
            if model is not None and model.tokenizer.get_vocab() != base.tokenizer.get_vocab():
                raise ModelError(
                    f"{model.source.name} has another vocabulary than the base model {base.source.name}",
                    allowed="models that were made from the same base",
                    next_step="give the model that it was before as --base",
                )

    def kept_beside(self) -> dict[str, str]:
        """Note for the reader on an audited model with an assistant or adapters, as in `keeps`."""
        folder = self.subject.source.assisted
        return {} if folder is None else {"keeps": keeps_of(folder)}

    def look(self, model: LazyModel) -> CausalLM:
        """A model for inference; the others are released."""
        for other in (self.base, self.subject, self.retrained):
            if other is not None and other is not model and other.loaded is not None:
                other.release()
        return self.beside(model)

    @staticmethod
    def beside(model: LazyModel) -> CausalLM:
        """A model for inference, in addition to what is loaded."""
        task = model()
        task.model.eval()
        return task

    def fresh(self, model: LazyModel) -> CausalLM:
        """A copy that may be changed; all others are released."""
        self.release()
        return model.copy()

    def release(self) -> None:
        """Release all weights."""
        for model in (self.base, self.subject, self.retrained):
            if model is not None and model.loaded is not None:
                model.release()


def text_configuration(model: LazyModel) -> Any:
    """The configuration of a model's text tower, without its weights."""
    return configuration(model.source).get_text_config(decoder=True)
