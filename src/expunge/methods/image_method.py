"""Base of methods for image classifiers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

from expunge.runs.method import Method, Needs
from expunge.train.phase import Phase


class ImageMethod(Method):
    """Base of methods for image classifiers that use both sets by default."""

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("image_classifier",))

    def phase(self, name: str, **changes: Any) -> Phase:
        """A phase with the method's fields of the same names: `learning_rate`, `epochs`, `batch_size` and so on.

        Args:
            changes: fields of the phase that the method lacks or uses for something else.
        """
        own = {field.name for field in fields(Phase)} & set(type(self).model_fields)
        return Phase(name=name, **{each: getattr(self, each) for each in own} | changes)
