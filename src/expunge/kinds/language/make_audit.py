"""Make the audit of a run, or of any model on the data of a recipe."""

from __future__ import annotations

from expunge.errors import RunError
from expunge.kinds.language.audit import LanguageAudit
from expunge.kinds.language.story import LanguageStory
from expunge.runs.artifacts import unlearned_model


def make_audit(story: LanguageStory, subject: str | None, control: str | None, holdout: str | None) -> LanguageAudit:
    """The audit of a run's model, or of any model on its recipe's data.

    Args:
        subject: the model; None: the run's own.

    Raises:
        RunError: the run has no unlearned model.
    """
    folder = story.run.folder
    story.base_folder()
    if subject is not None:
        story.reread(None)
    else:
        found = unlearned_model(folder)
        if found is None:
            raise RunError(
                f"{folder.path} has no unlearned model, or one that was changed since",
                next_step="run the command that started it again, to the end",
            )
        story.reread(found[1])
    return LanguageAudit(story, subject or str(folder.model), control, holdout)
