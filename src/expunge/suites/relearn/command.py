"""`expunge suite relearn`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.suites.relearn.settings import ATTACK, READ, Attack, Read
from expunge.suites.tofu.command import out_of
from expunge.suites.tofu.options import OF_SEVERAL, TAUGHT, OfSeveral, Taught
from expunge.suites.world.settings import WORLD, World


def relearn(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    read: Annotated[Read, Parameter(name="*")] = READ,
    of: Annotated[World, Parameter(name="*")] = WORLD,
    models: Annotated[OfSeveral, Parameter(name="*")] = OF_SEVERAL,
    teaching: Annotated[Taught, Parameter(name="*")] = TAUGHT,
    attack: Annotated[Attack, Parameter(name="*")] = ATTACK,
    printed: Printed = WORDS,
) -> int:
    """Relearning: teach a model, let methods forget, train the results on half of it again, and ask for the other half.

    For example:

        expunge suite relearn --methods npo,simnpo,repselect --out runs/relearn

        expunge suite relearn --data TOFU --forget forget05 --authors 40 --methods npo,rmu --out runs/relearn-tofu

        expunge suite relearn --data FOLDER --ordinary text.txt --methods npo --audit.relearning_steps 100

    The oracle, which never saw the forget set, is attacked with the same seeds; what counts is a model's knowledge
    beyond it. Finished work is kept, and the same command resumes. Fields of the runs' recipes can be given as
    --PART.FIELD VALUE; those of the part `audit` set the strength of the attack.
    """
    from expunge.runs.overrides import read_overrides
    from expunge.suites.relearn.reading import read_sets
    from expunge.suites.relearn.report import print_relearn
    from expunge.suites.relearn.run import run_relearn
    from expunge.suites.relearn.suite import NAME
    from expunge.suites.tofu.cells import wanted_methods
    from expunge.suites.tofu.plan import Lesson, Plan

    sets, asked_for = read_sets(read.data, read.forget, read.authors, of)
    plan = Plan(
        name=NAME,
        sets=sets,
        lesson=Lesson(model=models.model, **asdict(teaching)),
        asked_for=asked_for,
        methods=wanted_methods(models.methods),
        overrides=read_overrides(options),
        seeds=models.seeds,
        all_methods=models.methods == "all",
    )
    out = out_of(NAME, models)
    figures = run_relearn(plan, attack, out, printed.show())
    if printed.json:
        print_json(figures)
    if printed.json or printed.quiet:
        return 0
    print_relearn(figures)
    print(f"Figures: {out / 'relearn.json'}")
    print(f"Report:  {out / 'report.html'}")
    return 0
