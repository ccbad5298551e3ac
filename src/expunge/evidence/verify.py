"""Checking a run folder against its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expunge import storage
from expunge.data.readers import digest_documents, read_documents
from expunge.errors import ExpungeError
from expunge.evidence.verdict import judge
from expunge.models.digest import digest_model
from expunge.recipe import load_recipe
from expunge.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    what: str
    ok: bool


def verify_run(folder: RunFolder) -> list[Finding]:
    """Compare the model's files, the sets and the verdict with what `record.json` says.

    It shows that the folder is unchanged since the record was written, not that the record is true: who can write the
    folder can write the record too.
    """
    record = storage.read_json(folder.record)
    recipe = load_recipe(folder.recipe)
    findings = []
    listed: dict[str, str] = record["digests"]["model"]
    here = {name: digest for name, digest in digest_model(folder.model).items() if name != "README.md"}
    for name in sorted({*listed, *here}):
        if name not in here:
            findings.append(Finding(f"model/{name} is missing", False))
        elif name not in listed:
            findings.append(Finding(f"model/{name} is not in the record", False))
        else:
            same = here[name] == listed[name]
            findings.append(Finding(f"model/{name} {'has' if same else 'does not have'} the recorded digest", same))
    targets = {"forget": recipe.forget, "retain": recipe.retain}
    elicited = folder.target / "answers.jsonl"
    if elicited.is_file():
        targets["forget"] = str(elicited)
    for name, target in targets.items():
        if target is None or not Path(target).exists():
            continue
        try:
            same = digest_documents(read_documents(target)) == record["digests"][f"{name} set"]
        except ExpungeError:
            same = False
        findings.append(
            Finding(f"the {name} set {target} {'has' if same else 'does not have'} the recorded digest", same)
        )
    same = judge(folder.read_scores(), recipe.verdict) == record["verdict"]
    findings.append(
        Finding(f"the verdict {'follows' if same else 'does not follow'} from scores.json and recipe.yaml", same)
    )
    return findings
