"""`expunge request run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

from cyclopts import Parameter

from expunge.cli.ledger import LEDGER, Place, number, opened
from expunge.core.printed import WORDS, Printed


class Which(TypedDict, total=False):
    """Instead of ids."""

    all_due: Annotated[bool, Parameter(help="All requests that are due soon or overdue, instead of ids.")]
    within: Annotated[int, Parameter(help="Days that count as soon; default: 7.")]


class Attacked(TypedDict, total=False):
    """Attacks on the new model."""

    attacks: Annotated[
        str,
        Parameter(
            help="Attacks of expunge audit that the model must withstand, separated by commas, or all; default: none."
        ),
    ]
    budget: Annotated[str, Parameter(help="Time that each of these audits may take, such as 10m.")]


def run_requests(
    *words: Annotated[str, Parameter(name="ID", allow_leading_hyphen=True)],
    recipe: Path,
    which: Annotated[Which | None, Parameter(name="*")] = None,
    pool: Annotated[bool, Parameter(negative="--one-by-one")] = True,
    out: Path = Path("runs"),
    audited: Annotated[Attacked | None, Parameter(name="*")] = None,
    ledger: Place = LEDGER,
    printed: Printed = WORDS,
) -> int:
    """Run requests: make the model forget what they name. Interrupted runs are resumed first.

    For example:

        expunge request run --all-due --recipe whos_harry_potter --model FOLDER --retain PATH

        expunge request run R12 R13 --one-by-one --recipe whos_harry_potter --retain PATH

        expunge request run R14 --recipe robust --retain PATH --attacks relearn,quantize --budget 10m

    A run starts from the newest model that passed, or from --model if none did. Its own model, if it passes, is
    measured on the texts of the requests before it, too; with --attacks, it is also audited for its own and for
    those. Fields of the recipe are given as for `expunge run`. Exit code 3: a verdict failed, an audit did not pass,
    or an earlier request came back.

    Parameters
    ----------
    words:
        Ids of requests, then fields of the recipe as --FIELD VALUE.
    recipe:
        A YAML file of recipe fields, or the name of a recipe that comes with expunge; the target is filled in.
    pool:
        One run for all of them, or one after another (--one-by-one), each from the model before.
    out:
        The folder of the run folders.
    """
    from expunge.cli.console import print_summary, summary_row
    from expunge.core.printed import print_json
    from expunge.errors import RecipeError
    from expunge.requests.attacking import Attacks
    from expunge.requests.ledger import soon
    from expunge.requests.showing import audit_words, summary
    from expunge.requests.states import name_of
    from expunge.requests.work import batches, nameless, run_batch
    from expunge.runs.kinds import recipe_class
    from expunge.runs.overrides import read_overrides

    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    numbers = [number(word) for word in words[:first]]
    overrides = read_overrides(words[first:], recipe_class(recipe))
    all_due = (which or {}).get("all_due", False)
    if all_due == bool(numbers):
        raise RecipeError("give the requests to run", allowed="ids, or --all-due")
    attacks = (audited or {}).get("attacks")
    budget = (audited or {}).get("budget")
    if budget is not None and attacks is None:
        raise RecipeError("--budget is the time of an audit", next_step="give --attacks, too: names, or all")
    asked = None if attacks is None else Attacks.named(attacks, budget)
    codes, rows = [], []
    words_wanted = not (printed.json or printed.quiet)
    with opened(ledger) as book:
        wanted = book.due_by(soon((which or {}).get("within", 7))) if all_due else book.requests(sorted(set(numbers)))
        left = nameless(book, wanted) if all_due else []
        for empty in left if words_wanted else ():
            print(f"{empty.name}: names no files, and is not run (refuse it, or add one with the files and close it)")
        planned = batches(book, [each for each in wanted if each not in left], pool)
        for each in planned:
            folder = each.begun or out / each.name
            names = [name_of(number) for number in each.numbers]
            if words_wanted:
                print(f"{', '.join(names)}: {'resuming' if each.begun else 'running'} in {folder}")
            made = run_batch(book, each, recipe, overrides, out, printed.show(), asked)
            found = summary_row(made)
            state = book.request(each.numbers[0]).state
            ended = book.last(each.numbers[0], state) or {}
            earlier, audit = ended.get("earlier", []), ended.get("audit")
            audits = [audit, *(run.get("audit") for run in earlier)]
            back = any(run["back"] for run in earlier) or not all(run["passed"] for run in audits if run)
            codes.append(3 if back or state == "failed" else 0)
            rows.append({"requests": names, **found, "earlier": earlier, "audit": audit})
            if words_wanted:
                print_summary(made)
                if audit is not None:
                    print(audit_words(audit))
                if state == "passed":
                    print(summary(earlier) or "no earlier request on this model to measure")
    if printed.json:
        print_json({"runs": rows, "not_run": [each.name for each in left]})
    elif not planned and not printed.quiet:
        print("nothing to run")
    return max(codes, default=0)
