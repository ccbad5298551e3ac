from __future__ import annotations

from typing import Any

from expunge.kinds.classifier.recipe import ImageVerdict
from expunge.kinds.generator.recipe import GeneratorVerdict
from expunge.kinds.language.recipe import Verdict
from expunge.report import wording
from expunge.report.verdict_words import is_unknown, verdict_words
from expunge.runs import measures
from expunge.runs.check import NOT_KNOWN, NOT_KNOWN_BEFORE, Compared
from expunge.runs.kinds import kinds_by_name

NB = "\u00a0"


def check(name: str, passed: bool | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "threshold": 0.9, "value": 0.95, "passed": passed, "explain": "", **more}


def test_passed() -> None:
    words = verdict_words({"passed": True, "checks": [check("general_knowledge", True), check("perplexity", True)]})
    assert (words.state, words.headline) == ("passed", "Passed")
    assert words.reason == "All 2 checks fixed in the recipe before the run were met."
    assert (words.checks[0].limit, words.checks[0].value) == (f"at least 90.0{NB}% of before", f"95.0{NB}%")


def test_what_was_not_known_is_read_in_earlier_run_folders_too() -> None:
    for begins in (NOT_KNOWN, NOT_KNOWN_BEFORE):
        assert is_unknown(check("secret_exposure", False, value=None, explain=f"{begins}: 0.1 bits before"))
        assert not is_unknown(check("secret_exposure", False, explain=f"{begins}: 0.1 bits before"))
    assert not is_unknown(check("secret_exposure", False, value=None, explain="not measured"))


def test_failed_names_what_failed() -> None:
    words = verdict_words({"passed": False, "checks": [check("perplexity", True), check("general_knowledge", False)]})
    assert words.state == "failed"
    assert words.reason == "1 of 2 checks fixed in the recipe before the run was not met: general knowledge."


def test_what_was_measured_later_is_told() -> None:
    checks = [check("perplexity", True), check("benchmark_mean_loss", True)]
    words = verdict_words({"passed": True, "checks": checks}, later=["benchmarks", "ordinary text"])
    assert words.reason == (
        "All 2 checks were met. The thresholds were fixed in the recipe before the run. "
        "Some of what they are compared with was set after it: benchmarks, ordinary text."
    )
    unknown = "The thresholds were fixed in the recipe before the run."
    assert verdict_words({"passed": True, "checks": checks}, later=None).reason == f"All 2 checks were met. {unknown}"
    failed = {"passed": False, "checks": [check("perplexity", True), check("general_knowledge", False)]}
    assert verdict_words(failed, later=None).reason == f"1 of 2 checks was not met: general knowledge. {unknown}"


def test_a_record_that_contradicts_itself_has_not_passed() -> None:
    assert verdict_words({"passed": True, "checks": [check("perplexity", False)]}).state == "failed"
    assert verdict_words({"passed": False, "checks": [check("perplexity", True)]}).state == "failed"


def test_no_verdict() -> None:
    for nothing in (None, {}, {"passed": True, "checks": []}):
        assert verdict_words(nothing).state == "none"


def test_units_and_values_that_are_missing() -> None:
    checks = [check("benchmark_mean_loss", True, threshold=0.01, value=0.006), check("recall_way", False, value=None),
              check("something_else", True)]  # fmt: skip
    rows = verdict_words({"passed": False, "checks": checks}).checks
    assert (rows[0].limit, rows[0].value) == (f"at most 1.0{NB}points", f"0.6{NB}points")
    assert (rows[1].limit, rows[1].value) == (f"at least 90.0{NB}% of the way", "not measured")
    assert (rows[2].name, rows[2].limit, rows[2].value) == ("Something else", "0.900", "0.950")


def test_every_threshold_of_the_recipe_has_its_words() -> None:
    images = set(ImageVerdict.model_fields) | set(GeneratorVerdict.model_fields)
    beside = {"exact"}  # made wherever a method is exact by construction, with no threshold to set
    assert set(Verdict.model_fields) | images | beside == {*measures.thresholds(), "more"}


def test_every_sentence_is_a_sentence() -> None:
    for words in [*measures.measures().values(), *measures.thresholds().values()]:
        assert words.title[0].isupper()
        assert words.sentence.endswith(".")
        assert "proof" not in words.sentence
    limits = [kind.make_evidence().limits for kind in kinds_by_name().values()]
    assert all(text.endswith(".") for text in [*wording.MISSING.values(), *limits])


def test_a_threshold_says_the_bound_that_it_is_judged_by() -> None:
    compared = [each for each in measures.thresholds().values() if isinstance(each.judged, Compared)]
    assert len(compared) > 8
    assert [
        each.name for each in compared if isinstance(each.judged, Compared) and each.judged.bound != each.bound
    ] == []


def test_the_recipe_and_the_report_say_the_same_of_a_threshold() -> None:
    words = measures.threshold("recall_left")
    assert words is not None
    assert words.sentence == "Remaining verbatim recall of the forget set, as a share of the model before."
    described = Verdict.model_fields["recall_left"].description or ""
    assert f"at most: {words.sentence[0].lower()}{words.sentence[1:-1]}" in " ".join(described.split())
