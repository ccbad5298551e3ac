"""Names of attacks that are read off files are those of the attacks that are found."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from expunge.errors import RecipeError
from expunge.kinds.classifier.attacks import attack as of_classifiers
from expunge.kinds.generator.attacks import attack as of_generators
from expunge.kinds.language.attacks import attack as of_language
from expunge.runs import attack_names
from expunge.runs.attack_names import names_in_files, refuse_misspelt
from expunge.runs.kind import Kind
from expunge.runs.kinds import kinds_by_name

ROOMS = {"causal_lm": of_language, "image_classifier": of_classifiers, "image_to_image": of_generators}


@pytest.mark.parametrize("name", ROOMS)
def test_the_names_in_the_files_are_those_that_are_found(name: str) -> None:
    found = names_in_files(kinds_by_name()[name])
    assert sorted(found) == sorted(each.name for each in ROOMS[name].attacks())
    assert len(found) > 5


def test_a_misspelt_name_is_told_with_the_nearest_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    language, pictures = (kinds_by_name()[name] for name in ("causal_lm", "image_classifier"))
    refuse_misspelt(("relearn", "cloze"), [language])
    with pytest.raises(RecipeError, match="no attack 'cloze'") as caught:
        refuse_misspelt(("relearn", "cloze"), [pictures])
    assert "cloze" not in str(caught.value.allowed)
    with pytest.raises(RecipeError) as caught:
        refuse_misspelt(("samples",), [language])
    assert "sample" in str(caught.value.next_step)
    # What other packages call theirs stands in no file here, nor do the attacks of a kind that is a single module.
    monkeypatch.setattr(attack_names, "entry_points", lambda group: [SimpleNamespace(name="own")])
    refuse_misspelt(("own",), [language])
    monkeypatch.undo()
    other = Kind(**{each: getattr(language, each) for each in Kind.__dataclass_fields__} | {"audit": "module:make"})
    assert names_in_files(other) == []
    refuse_misspelt(("own",), [other])
