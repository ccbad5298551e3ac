"""`expunge request`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from expunge.cli.ledger import LEDGER, Place, number, opened
from expunge.cli.request_run import run_requests
from expunge.core.printed import WORDS, Printed, Quiet, print_json

if TYPE_CHECKING:
    from expunge.requests.ledger import Request

request = App(
    name="request",
    help="Keep a ledger of requests to forget: when they came, when they are due, how they ended (docs/requests.md).\n\n"
    "For example: expunge request add --subject CUSTOMER-4711 mails.jsonl letters/",
)
Id = Annotated[str, Parameter(help="The request's id, such as R000012.")]
request.command(run_requests, name="run", usage="Usage: expunge request run [OPTIONS] [ID...]")


@request.command(usage="Usage: expunge request add --subject STR [OPTIONS] FILES...")
def add(
    *files: Path,
    subject: str,
    due: str | None = None,
    received: str | None = None,
    idempotency_key: str | None = None,
    ledger: Place = LEDGER,
    quiet: Quiet = False,
) -> int:
    """Add a request, and print its id; with --quiet the id alone.

    For example:

        expunge request add --subject CUSTOMER-4711 mails.jsonl letters/

    The ledger holds salted digests of SUBJECT and of the files. The files' paths are noted next to it, until the
    request is closed; the files stay in their place.

    Parameters
    ----------
    files:
        Files or folders with the text to forget.
    subject:
        Who asks, by the id that you use elsewhere.
    due:
        The deadline, YYYY-MM-DD; default: one month after --received.
    received:
        The day on which the request came, YYYY-MM-DD; default: today.
    idempotency_key:
        A second request with the same key is not added; the first one is returned.
    """
    with opened(ledger, create=True) as book:
        made, new = book.add(
            subject,
            files,
            due=_date(due),
            received=_date(received),
            idempotency_key=idempotency_key,
        )
    print(made.name if quiet else f"{made.name}  {made.state}, due {made.due}" + ("" if new else " (added before)"))
    if new and not files and not quiet:
        print("it names no files: it can be refused or closed, but not run")
    return 0


@request.command(name="list")
def list_(
    *,
    state: Literal["open", "running", "passed", "failed", "refused", "closed"] | None = None,
    subject: str | None = None,
    due_by: str | None = None,
    printed: Printed = WORDS,
    ledger: Place = LEDGER,
) -> int:
    """List requests: id, state, deadline.

    For example:

        expunge request list --state open

    Parameters
    ----------
    state:
        Only requests in this state.
    subject:
        Only requests of this person, closed ones too.
    due_by:
        Only requests that are due by that day and not answered.
    """
    import sys

    with opened(ledger) as book:
        day = _date(due_by)
        found = book.requests() if day is None else book.due_by(day)
        if subject is not None:
            theirs = book.of_subject(subject)
            found = [each for each in found if each.number in theirs]
    if state is not None:
        found = [each for each in found if each.state == state]
    if printed.json:
        rows = [{"id": each.name, "state": each.state, "due": each.due.isoformat()} for each in found]
        print_json(rows)
        return 0
    today = date.today()
    late = {each.number for each in found if each.due < today and each.state in ("open", "running", "failed")}
    lines = [
        f"{each.name}  {each.state:<8} due {each.due.isoformat()}{'  OVERDUE' if each.number in late else ''}\n"
        for each in found
    ]
    sys.stdout.write("".join(lines) or ("" if printed.quiet else "no requests\n"))
    return 0


@request.command
def show(name: Id, /, *, printed: Printed = WORDS, ledger: Place = LEDGER) -> int:
    """Show a request: its events, its run, which model came from which, and whom to tell."""
    from expunge.core.safe_text import clean
    from expunge.requests.showing import facts, lines

    with opened(ledger) as book:
        found = facts(book, number(name))
    if printed.json:
        print_json(found)
    else:
        for line in lines(found):
            print(clean(line))
    return 0


@request.command
def reopen(name: Id, /, *, reason: str, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Give up a run that cannot continue: its requests can be run again, with another recipe.

    Parameters
    ----------
    reason:
        Why. It is stored in the ledger: no names.
    """
    with opened(ledger) as book:
        for each in book.reopen(number(name), reason):
            _say(book.request(each), quiet)
    return 0


@request.command
def refuse(name: Id, /, *, reason: str, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Refuse a request.

    Parameters
    ----------
    reason:
        Why, as stated to the person. It is stored in the ledger: no names.
    """
    with opened(ledger) as book:
        return _say(book.refuse(number(name), reason), quiet)


@request.command
def extend(name: Id, /, *, reason: str, to: str | None = None, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Move the deadline of a request, by two months at most.

    Parameters
    ----------
    reason:
        Why, as stated to the person. It is stored in the ledger: no names.
    to:
        The new deadline, YYYY-MM-DD; default: two months after the first one.
    """
    with opened(ledger) as book:
        return _say(book.extend(number(name), reason, _date(to)), quiet)


@request.command
def close(name: Id, /, *, reason: str | None = None, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Close a request that passed or was refused, and delete who asked and the files' paths.

    Parameters
    ----------
    reason:
        Why a request that neither passed nor was refused is closed. It is stored in the ledger: no names.
    """
    from expunge.requests.showing import texts_left

    with opened(ledger) as book:
        made = book.close_request(number(name), reason)
        left = texts_left(book, made.number)
    for place in left:
        print(f"{place} still holds text of the request: delete it when you need no further audit of that run")
    return _say(made, quiet)


@request.command
def note_copy(
    model: Path,
    /,
    *,
    kind: Literal["adapter", "merged", "quantized", "deployed", "other"],
    where: str,
    tell: str,
    ledger: Place = LEDGER,
    quiet: Quiet = False,
) -> int:
    """Note a copy of a model, so that `show` lists who must be informed of a request.

    For example:

        expunge request note-copy models/base --kind quantized --where "phone app 2.1" --tell "mobile team"

    Parameters
    ----------
    model:
        The model that it was made from: its folder, or a run folder.
    kind:
        What it is.
    where:
        Where it is used.
    tell:
        Who has it: a role or a company, not a person.
    """
    from expunge.models.digest import digest_saved
    from expunge.requests.lineage import model_digest, model_folder

    digest = model_digest(digest_saved(model_folder(model)))
    with opened(ledger, create=True) as book:
        copy = book.note_copy(digest, kind, where, tell)
    print(copy if quiet else f"copy {copy} of model {digest[:12]}")
    return 0


@request.command
def told(name: Id, /, *, copy: int, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Note that the holder of a copy was informed of a request.

    Parameters
    ----------
    copy:
        The copy's number, as `show` lists it.
    """
    with opened(ledger) as book:
        book.told(number(name), copy)
        return _say(book.request(number(name)), quiet)


@request.command
def check(*, head: str | None = None, ledger: Place = LEDGER, quiet: Quiet = False) -> int:
    """Check the ledger's chain, and name a broken link. Exit code 1 if there is one.

    Parameters
    ----------
    head:
        The digest that an earlier check printed, to detect events cut off or rewritten since.
    """
    with opened(ledger) as book:
        found, count, last = book.findings(head)
    for each in found:
        print(f"FAILED       {each}")
    if not quiet:
        print(f"{count} events, the last one {last}" + ("" if found else ": the chain is whole"))
    return 1 if found else 0


@request.command
def stored(*, days: int = 30, printed: Printed = WORDS, ledger: Place = LEDGER) -> int:
    """List answered requests of which something is still stored after some days. Exit code 3 if there is one.

    Stored are who asked and where the files lie (`close` deletes both), and the text in the folders of runs.

    For example:

        expunge request stored --days 30

    Parameters
    ----------
    days:
        Days since the request passed or was refused that are allowed.
    """
    from expunge.requests.ledger import soon
    from expunge.requests.stored import stored_since

    with opened(ledger) as book:
        found = stored_since(book, soon(-days, "--days"))
    if printed.json:
        print_json([each.row() for each in found])
    else:
        from expunge.core.safe_text import clean

        for each in found:
            print(f"{each.name}  {each.state} since {each.since}, and still stored:")
            for place in each.places:
                print(clean(f"  {place}"))
        if not found and not printed.quiet:
            print(f"nothing is stored of requests answered {days} days ago or earlier")
    return 3 if found else 0


def _say(made: Request, quiet: bool) -> int:
    if not quiet:
        print(f"{made.name}  {made.state}, due {made.due}")
    return 0


def _date(text: str | None) -> date | None:
    from expunge.requests.states import read_date

    return None if text is None else read_date(text)
