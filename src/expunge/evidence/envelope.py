"""Ed25519 keys and DSSE envelopes, by securesystemslib (the extra `evidence`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import ExpungeError, RunError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"of in-toto statements"
EXTRA = "pip install 'expunge[evidence]'"


class EvidenceError(RunError):
    """A key or an envelope that cannot be used."""


def _library() -> Any:
    try:
        import cryptography  # noqa: F401 - securesystemslib is there without it, too
        from securesystemslib import dsse, signer
    except ImportError as error:
        raise ExpungeError("signatures need the package securesystemslib", next_step=EXTRA) from error
    return dsse, signer


def new_key(path: Path) -> Path:
    """Make a key pair: the private key in a file that only its owner can read, the public one next to it. Returns the
    public one's path.

    Raises:
        EvidenceError: a key already exists; it is never overwritten.
    """
    _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = path.with_name(f"{path.name}.pub")
    for there in (path, public):
        if there.exists():
            raise EvidenceError(f"{there} already exists", next_step="name another file for the new key")
    made = Ed25519PrivateKey.generate()
    storage.write_own(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    storage.write_bytes(public, made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def read_signer(path: Path) -> Any:
    """The signer with a private Ed25519 key from a PEM file. Raises `EvidenceError` if it has none."""
    _, signer = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError) as error:
        raise _no_key(path, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private")
    return signer.CryptoSigner(key)


def read_public(path: Path) -> Any:
    """A public Ed25519 key from a PEM file. Raises `EvidenceError` if it has none."""
    _, signer = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path))
    except ValueError as error:
        raise _no_key(path, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return signer.SSlibKey.from_crypto(key)


def seal(statement: Mapping[str, Any], signer: Any) -> str:
    """A statement in a signed envelope, as the text of its file."""
    dsse, _ = _library()
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    envelope = dsse.Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return _text(envelope)


def unseal(text: bytes, key: Any) -> dict[str, Any]:
    """The statement in an envelope that a key signed.

    Raises:
        EvidenceError: it is not such an envelope, a byte of it was changed, in the signed part or not, or another
            key signed it too.
    """
    dsse, _ = _library()
    from securesystemslib.exceptions import Error

    try:
        envelope = dsse.Envelope.from_dict(json.loads(text))
        if len(envelope.signatures) != 1:
            raise ValueError("not as it was written: signed by one key")
        envelope.verify([key], 1)
        # Unsigned parts (white space, a key's name, the end of base64) have one form.
        if envelope.payload_type != PAYLOAD_TYPE or _text(envelope).encode() != text:
            raise ValueError("not as it was written")
        statement = json.loads(envelope.payload)
    except (Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            "the signature is not valid", seen=f"key {key.keyid[:12]}", allowed="an envelope that this key signed"
        ) from error
    if not isinstance(statement, dict):
        raise EvidenceError("the envelope has no statement")
    return statement


def _text(envelope: Any) -> str:
    return json.dumps(envelope.to_dict(), sort_keys=True, indent=1) + "\n"


def _read(path: Path) -> bytes:
    with storage.reading(path):
        return path.read_bytes()


def _no_key(path: Path, which: str) -> EvidenceError:
    return EvidenceError(
        f"{path} has no {which} Ed25519 key",
        allowed="a PEM file without a password",
        next_step="make a pair: expunge sign --new-key FILE",
    )
