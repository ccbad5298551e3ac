"""Sign a run, and check a signature: offline, from the run folder and a public key."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from expunge.core import storage
from expunge.evidence.bom import make_bom
from expunge.evidence.envelope import EvidenceError, read_public, read_signer, seal, unseal
from expunge.evidence.statement import PREDICATE, SALTED, STATEMENT, make_statement, salted, signed_files
from expunge.report.verify import Finding, read_whole_record
from expunge.runs.folder import RunFolder

ENVELOPE, BOM, SALT = "statement.dsse.json", "bom.cdx.json", "salt"
"files of `evidence/`"


def sign_run(folder: RunFolder, key: Path) -> Path:
    """Write a run's bill of materials and its signed statement; return the envelope's path.

    Raises:
        RunError: the run is not finished.
        EvidenceError: the file has no private key, or the record is damaged.
    """
    signer, record = read_signer(key), read_whole_record(folder)
    place = folder.path / "evidence"
    salt = secrets.token_bytes(32)
    storage.write_own(place / SALT, salt.hex().encode() + b"\n")
    try:
        storage.write_json(place / BOM, make_bom(folder, record))
        statement = make_statement(folder, record, (place / BOM, place / SALT), salt)
    except (KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{folder.record} is damaged, or from another version of expunge",
            seen=error,
            next_step=f"see what is wrong: expunge verify {folder.path}",
        ) from error
    storage.write_text(place / ENVELOPE, seal(statement, signer))
    return place / ENVELOPE


def signature_findings(folder: RunFolder, key: Path) -> list[Finding]:
    """Check that a key signed the evidence of a run, and that its files are unchanged; missing files are not checked.

    Raises:
        RunError: the run was not signed.
        EvidenceError: the file has no public key.
    """
    public, envelope = read_public(key), folder.path / "evidence" / ENVELOPE
    if not envelope.is_file():
        raise EvidenceError(f"{folder.path} is not signed", next_step=f"expunge sign {folder.path} --key FILE")
    with storage.reading(envelope):
        text = envelope.read_bytes()
    name = f"evidence/{ENVELOPE}"
    try:
        statement = unseal(text, public)
    except EvidenceError as error:
        return [Finding(f"{name}: {error.what}, {error.seen}", False)]
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT, PREDICATE):
        return [Finding(f"{name}: a statement of another kind", False)]
    signed = {each["name"]: each["digest"] for each in statement["subject"]}
    return [
        Finding(f"{name}: signed by the key {public.keyid[:12]}", True),
        *_files(folder, signed),
    ]


def _files(folder: RunFolder, signed: Mapping[str, Mapping[str, str]]) -> Iterable[Finding]:
    """Compare signed files with the present ones; and list files added since."""
    beside = [folder.path / "evidence" / name for name in (BOM, SALT)]
    here = signed_files(folder, beside)
    place = f"evidence/{SALT}"
    salt = _salt(beside[1]) if place in here and here[place] == signed.get(place, {}).get("sha256") else None
    for name, digests in signed.items():
        if name not in here:
            yield Finding(f"{name}: signed, and missing", None)
        elif SALTED in digests and salt is None:
            yield Finding(
                f"{name}: not checked, as its digest is salted and the {place} that was signed is missing", None
            )
        else:
            found = salted(salt, here[name]) if salt and SALTED in digests else here[name]
            same = found in digests.values()
            yield Finding(f"{name} {'is' if same else 'is not'} as it was signed", same)
    for name in sorted(set(here) - set(signed)):
        yield Finding(f"{name}: not signed", False)


def _salt(path: Path) -> bytes:
    with storage.reading(path):
        return bytes.fromhex(path.read_text(encoding="ascii"))
