"""Cleaning counted runs of capitals: sentence beginnings, possessives and plurals are separated from names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from expunge.data.text.frequencies import zipf
from expunge.data.text.words import words
from expunge.kinds.language.terms.counts import Evidence, TermCounts
from expunge.kinds.language.terms.grammar import singulars
from expunge.kinds.language.terms.word_classes import LISTED, RARE_ZIPF, TITLES, englishness

_FIRST_WORD = re.compile(r"^[^\W_]+[\W_]*(?:(?:s|of|the|and|de|la|van|von|der|di|del|du)\b[\W_]*)*")
_OWNER = re.compile(r"['’]s ")


def clean_runs(counts: TermCounts) -> dict[str, Evidence]:
    """Runs that are names as far as their form tells, with the counts of each; `Muggles` counts with `Muggle`."""
    runs = _resolved_runs(counts)
    merged: dict[str, Evidence] = defaultdict(Evidence)
    for run, evidence in runs.items():
        single = _singular(run, evidence, runs)
        if single != run:
            evidence.indefinite += evidence.count
            evidence.determiner += evidence.count
        merged[single].add(evidence)
    return dict(merged)


def _resolved_runs(counts: TermCounts) -> dict[str, Evidence]:
    """Runs without the ordinary words that only a sentence's beginning had capitalised."""
    sure: Counter[str] = Counter()
    for run, evidence in counts.runs.items():
        for place, word in enumerate(words(run)):
            sure[word] += evidence.middle + (evidence.start if place else 0)
    runs: dict[str, Evidence] = defaultdict(Evidence)
    for run, evidence in _unowned_runs(counts):
        first, *others = words(run)
        lower = counts.lower_count(first.lower())
        if evidence.start and not _is_name_at_start(first, bool(others), sure[first], lower):
            rest = _without_title(_FIRST_WORD.sub("", run))
            if rest:
                runs[rest].add(Evidence(middle=evidence.start, speech=evidence.speech))
            if not evidence.middle:
                continue
            evidence = replace(evidence, start=0)
        runs[run].add(evidence)
    return dict(runs)


def _unowned_runs(counts: TermCounts) -> Iterator[tuple[str, Evidence]]:
    """Runs, with Holmes's Baker Street split if the owner is named elsewhere (Philosopher's Stone stays)."""
    known = {run for run in counts.runs if not _OWNER.search(run)}
    owners = {words(run)[-1] for run in known}
    for run, evidence in counts.runs.items():
        owned = _OWNER.split(run)
        if len(owned) == 1 or words(owned[0])[-1] not in owners:
            yield run, evidence
            continue
        yield owned[0], replace(evidence, gained=0, gain=0.0)
        for run_part in owned[1:]:
            yield run_part, Evidence(middle=evidence.count)


def _is_name_at_start(word: str, followed: bool, sure: int, lower: int) -> bool:
    """Whether a sentence's first word is a name, by its uses elsewhere (`sure` ones, and in lower case) if it has
    any."""
    if sure or lower:
        return sure > lower
    if word in LISTED or zipf(word) < RARE_ZIPF:
        return True
    return followed and englishness(word) < 0.6


def _without_title(run: str) -> str:
    first, space, rest = run.partition(" ")
    return _without_title(rest) if space and first.strip(".").lower() in TITLES else run


def _singular(run: str, evidence: Evidence, runs: dict[str, Evidence]) -> str:
    last = words(run)[-1]
    if " of " in run or last in LISTED:
        return run
    singles = [(single, run[: len(run) - len(last)] + single) for single in singulars(last)]
    for _, whole in singles:
        if whole in runs and runs[whole].count * 10 >= evidence.count:
            return whole
    for single, whole in singles:
        known = zipf(single) >= max(zipf(last) - 0.3, 1.0)
        if known and whole not in runs and evidence.determiner * 5 >= evidence.count:
            return whole
    return run
