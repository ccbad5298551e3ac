"""A request as it is shown: its events, runs and models, and whom to inform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.words import counted
from expunge.requests.ledger import Ledger
from expunge.requests.lineage import ancestors, copies_to_tell, lineage
from expunge.requests.states import name_of
from expunge.requests.withstood import EARLIER, Withstood
from expunge.runs.folder import RunFolder

SHORT = 12
"digits of a digest to show"


def facts(ledger: Ledger, number: int) -> dict[str, Any]:
    """Everything in the ledger on a request, as JSON; `subject` and the files' paths while it is not closed."""
    found, events = ledger.request(number), ledger.events_of(number)
    noted = ledger.private.read(number) or {}
    ended = [each.content for each in events if each.kind in ("passed", "failed")]
    model = ended[-1]["model"] if ended else None
    return {
        "id": found.name,
        "state": found.state,
        "due": found.due.isoformat(),
        "subject": noted.get("subject"),
        "files": noted.get("files"),
        "events": [
            {"seq": each.seq, "at": each.at, "kind": each.kind, "due": each.due, **each.content} for each in events
        ],
        "model": model,
        "came_from": [] if model is None else ancestors(lineage(ledger), model),
        "copies": copies_to_tell(ledger, number),
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same in lines of words."""
    yield f"{found['id']}  {found['state']}, due {found['due']}"
    if found["subject"] is not None:
        yield f"  subject  {found['subject']}"
        yield from (f"  file     {file}" for file in found["files"])
    for event in found["events"]:
        words = {
            "added": f"received {event.get('received')}, {counted(len(event.get('files', ())), 'file')}, due {event['due']}",
            "extended": f"to {event['due']}: {event.get('reason')}",
            "started": str(event.get("run")),
            "told": f"who has copy {event.get('copy')}",
        }.get(event["kind"], event.get("reason", ""))
        if event["kind"] in ("passed", "failed"):
            words = f"model {event['model'][:SHORT]} from {event['parent'][:SHORT]}, as {event['name']}"
            if "audit" in event:
                words += f"; {audit_words(event['audit'])}"
            if told := summary(event.get("earlier", ())):
                words += f"; {told}"
        elif event["kind"] == "returned":
            words = f"came back in the model of {event['name']}: {', '.join(event['checks'])}"
        yield f"  {event['at']}  {event['kind']:<8} {words}".rstrip()
    if found["came_from"]:
        yield "  model    " + " <- ".join(each[:SHORT] for each in (found["model"], *found["came_from"]))
    for copy in found["copies"]:
        state = f"told {copy['told']}" if copy["told"] else "NOT TOLD"
        yield (
            f"  copy {copy['copy']}: {copy['kind']}, of model {copy['model'][:SHORT]}, {copy['where']}; "
            f"tell {copy['tell']}: {state}"
        )


def audit_words(found: Mapping[str, Any]) -> str:
    """What an event's `audit` says, in a few words."""
    return Withstood(found["passed"], tuple(found["failed"]), None if found["attacked"] else "").words


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """What an event's `earlier` says, in a few words."""
    requests = [number for each in found for number in each["requests"]]
    if not requests:
        return ""
    back = [name_of(number) for each in found if each["back"] for number in each["requests"]]
    unmeasured = sum(len(each["requests"]) for each in found if not each["measured"])
    words = [f"{counted(len(requests) - unmeasured, 'earlier request')} measured"]
    if unmeasured:
        words.append(f"{unmeasured} not")
    attacked = [number for each in found if each.get("audit", {}).get("attacked") for number in each["requests"]]
    if attacked:
        words.append(f"{len(attacked)} attacked")
    return ", ".join(words) + (f"; came back: {', '.join(back)}" if back else "")


def texts_left(ledger: Ledger, number: int) -> list[Path]:
    """Existing parts of the folders of a request's runs that contain the forgotten text."""
    runs = [RunFolder(each.content["run"]) for each in ledger.events_of(number) if each.kind == "started"]
    places = [place for run in runs for place in (run.stages, run.anchors, run.answers, run.toxicity)]
    later = [Path(each.content["run"]) / EARLIER for each in ledger.chain.events("kind = 'started'")]
    again = [RunFolder(folder / run.path.name) for folder in dict.fromkeys(later) for run in runs]
    places += [audited.stages for audited in again]  # of an audit that was cut short
    places += [run.audit for run in (*runs, *again) if _quotes(run.audit)]
    return [place for place in dict.fromkeys(places) if place.exists()]


def _quotes(audit: Path) -> bool:
    """Whether an audit shows facts, as it does if the recipe allows excerpts."""
    path = audit / "audit.json"
    return path.is_file() and bool(storage.read_json(path).get("facts_shown", {}).get("rows"))
