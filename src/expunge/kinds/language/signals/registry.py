"""Finding signals: built-in ones in the files of this folder, those of other packages by the entry point group
`expunge.signals`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from expunge.errors import RecipeError, did_you_mean
from expunge.kinds.language import signals
from expunge.kinds.language.signals.retain_labels import RetainLabels
from expunge.kinds.language.signals.signal import Labels, Signal
from expunge.runs.method import Method
from expunge.runs.plugins import named_in


@cache
def built_in() -> dict[str, type[Signal]]:
    """The signals of this folder by name."""
    return {each.name: each for each in named_in(signals, Signal)}


def signal_class(name: str) -> type[Signal]:
    """The class of a signal.

    Raises:
        RecipeError: there is no such signal; names the nearest.
    """
    if name in built_in():
        return built_in()[name]
    points = {point.name: point for point in entry_points(group="expunge.signals")}
    if name in points:
        found: type[Signal] = points[name].load()
        return found
    known = sorted([*built_in(), *points])
    raise RecipeError(f"there is no signal {name!r}", allowed=", ".join(known), next_step=did_you_mean(name, known))


def signals_of(method: Method) -> list[Signal]:
    """What a method asks for, of the sets that it draws; labels first.

    Raises:
        RecipeError: there is no such signal, or two have one name or label one set.
    """
    found: list[Signal] = []
    for each in method.wants():
        if isinstance(each, str | tuple):
            name, settings = each if isinstance(each, tuple) else (each, {})
            each = signal_class(name)(**settings)
        if method.needs.forget if each.set == "forget" else method.draws_retain:
            found.append(each)
    labels = [signal for signal in found if isinstance(signal, Labels)]
    if len({each.name for each in found}) < len(found) or len({each.set for each in labels}) < len(labels):
        raise RecipeError(
            f"the method {type(method).__name__} asks for two signals of one name, or two labels of one set",
            seen=", ".join(each.name for each in found),
        )
    reads_labels = method.draws_retain and method.has_loss() and method.needs.retain_labels
    if reads_labels and not any(each.set == "retain" for each in labels):
        found.append(RetainLabels(getattr(method, "retain_target", "text")))
    return sorted(found, key=lambda each: not isinstance(each, Labels))
