"""The study of a sweep: trials and their results, as Optuna's journal; and the choice of the next ones."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from expunge.core.order import random_seed
from expunge.errors import RunError, StorageError, first_line
from expunge.sweep.axes import Axis, Space

NAME = "sweep"
AGAIN = 32
"how often to draw another combination if one was tried before"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        number, values: which trial, and the fields it varied.
        failed: why there are no scores; empty if there are.
        left, damage: its position, as in `report.front.Point`; `left_by` and `damage_by` name the measures.
        left_score, damage_score: those measures after unlearning: value, low, high, n.
        passed: the verdict. seconds: the duration of the run.
    """

    number: int
    values: dict[str, Any]
    failed: str = ""
    left: float | None = None
    damage: float | None = None
    left_by: str = ""
    damage_by: str = ""
    left_score: dict[str, Any] = field(default_factory=dict)
    damage_score: dict[str, Any] = field(default_factory=dict)
    passed: bool | None = None
    seconds: float | None = None

    @property
    def name(self) -> str:
        return f"trial {self.number}"

    def row(self) -> dict[str, Any]:
        """The trial as JSON values."""
        return asdict(self)


def require_optuna() -> None:
    """Raise `RunError` unless Optuna is installed."""
    if importlib.util.find_spec("optuna") is None:
        raise RunError(
            "Optuna is not installed, which chooses the trials of a sweep", next_step="pip install 'expunge[sweep]'"
        )


class Study:
    """The trials that have ended, in `study.jsonl`: Optuna's journal, one JSON object a line.

    Other programs read it as `JournalStorage(JournalFileBackend(path))`, the study "sweep"; no pickle is in it. Whoever
    opens it holds the folder.

    Raises:
        StorageError: the file is not such a journal.
    """

    def __init__(self, path: Path, space: Space) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.path, self.space = path, space
        _mend(path)
        with _quiet():
            import optuna

            try:
                storage = JournalStorage(JournalFileBackend(str(path)))
                if NAME in optuna.get_all_study_names(storage):
                    self._study = optuna.load_study(study_name=NAME, storage=storage)
                else:
                    self._study = optuna.create_study(
                        study_name=NAME, storage=storage, directions=["minimize", "minimize"]
                    )
                self.results = {
                    result.number: result for result in map(_result, self._study.get_trials(deepcopy=False))
                }
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                raise StorageError(
                    f"{path} is not a journal of a sweep, or was changed",
                    seen=first_line(error),
                    next_step="delete that file and run the same command again: the results of the trials still exist",
                ) from error

    def tell(self, result: TrialResult) -> None:
        """Record the result of a trial; it is on the disk when this returns."""
        import optuna

        with _quiet():
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.FAIL if result.failed else optuna.trial.TrialState.COMPLETE,
                    values=None if result.failed else [result.left, result.damage],
                    params=result.values,
                    distributions=_distributions(self.space.active(result.values)),
                    user_attrs={"number": result.number, **{name: getattr(result, name) for name in NOTED}},
                )
            )
        self.results[result.number] = result


NOTED = [each.name for each in fields(TrialResult) if each.name not in ("number", "values", "left", "damage")]


def propose(
    space: Space, seed: int, numbers: Sequence[int], trials: int, results: Sequence[TrialResult]
) -> list[dict[str, Any]]:
    """What trials that run at the same time try.

    The same at every call with equal arguments, so that a killed sweep continues as if it had not been. Where all is
    counted and there are no more combinations than trials, every combination has its turn; else Optuna's TPE for
    several aims chooses (Ozaki et al. 2022, doi:10.1613/jair.1.13188), with a random start of ten, as is its default.

    Args:
        numbers: of the trials, without a gap.
        trials: that are wanted in all.
        results: of the trials before `numbers[0]`, to be reported to Optuna (its `tell`).

    Returns:
        The values of each; fewer than `numbers` if no combination is left.
    """
    before = [one.values for one in results]
    if (grid := space.combinations(trials)) is not None:
        return [values for values in grid if values not in before][: len(numbers)]
    import optuna

    with _quiet():
        study = optuna.create_study(directions=["minimize", "minimize"])
        for one in results:
            if not one.failed:
                study.add_trial(
                    optuna.trial.create_trial(
                        values=[one.left, one.damage],
                        params=one.values,
                        distributions=_distributions(space.active(one.values)),
                    )
                )
        found: list[dict[str, Any]] = []
        for number in numbers:
            for attempt in range(AGAIN):
                study.sampler = optuna.samplers.TPESampler(
                    seed=random_seed(seed, NAME, number, attempt) % (1 << 32), constant_liar=True
                )
                trial = study.ask()
                values = _drawn(space, trial)
                if values not in before or attempt + 1 == AGAIN:
                    break
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            found.append(values)
            before.append(values)
    return found


def _drawn(space: Space, trial: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for axis in space.axes:
        if axis in space.active(values):
            if axis.choices:
                values[axis.field] = trial.suggest_categorical(axis.field, axis.choices)
            elif axis.whole:
                values[axis.field] = trial.suggest_int(axis.field, axis.low, axis.high, log=axis.log)
            else:
                values[axis.field] = trial.suggest_float(axis.field, axis.low, axis.high, log=axis.log)
    return values


def _distributions(axes: Sequence[Axis]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for axis in axes:
        if axis.choices:
            found[axis.field] = CategoricalDistribution(axis.choices)
        elif axis.whole:
            found[axis.field] = IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            found[axis.field] = FloatDistribution(axis.low, axis.high, log=axis.log)
    return found


def _result(trial: Any) -> TrialResult:
    noted: Mapping[str, Any] = trial.user_attrs
    left, damage = (None, None) if noted["failed"] else trial.values
    return TrialResult(
        number=int(noted["number"]),
        values=dict(trial.params),
        left=left,
        damage=damage,
        **{name: noted[name] for name in NOTED},
    )


def _mend(path: Path) -> None:
    """Remove the leftovers of a killed process: a torn last line, and Optuna's own lock file."""
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with open(path, "rb+") as file:
                file.truncate(content.rfind(b"\n") + 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's messages to its own users, about finished trials and experimental features."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
