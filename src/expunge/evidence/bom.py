"""A bill of materials of an unlearned model: CycloneDX 1.6 as JSON, with a model card (ML-BOM)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from expunge import __version__
from expunge.core import storage
from expunge.core.score import Score
from expunge.evidence.statement import sets_of, sizes, when
from expunge.runs.folder import RunFolder

MODEL, BASE = "unlearned-model", "base-model"
NO_PACKAGE = ("python", "platform", "processor")
"entries of a record's versions that are not packages"


def make_bom(folder: RunFolder, record: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of materials of a finished run's model."""
    times = when(folder)
    data, libraries = list(_sets(record)), list(_libraries(record["versions"]))
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": MODEL,
        "version": storage.digest_value(record["digests"]["model"])[:16],
        "components": list(_files(MODEL, record["digests"]["model"])),
        "pedigree": {
            "ancestors": [_base(record)],
            "notes": f"unlearned with the method {record['method']['name']} by Expunge {__version__}",
        },
        "modelCard": {
            "modelParameters": {"datasets": [{"ref": each["bom-ref"]} for each in data]},
            "quantitativeAnalysis": {
                "performanceMetrics": [_metric(score) for score in folder.read_scores() if score.model == "unlearned"]
            },
            "considerations": {"technicalLimitations": [f"Not tested: {each}" for each in record["not_tested"]]},
        },
        "properties": [{"name": "expunge:verdict", "value": "passed" if record["verdict"]["passed"] else "failed"}],
    }
    if record.get("license"):
        model["licenses"] = [{"license": {"name": record["license"]}}]
    if task := _architecture(folder):
        model["modelCard"]["modelParameters"]["modelArchitecture"] = task
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, storage.digest_file(folder.record))}",
        "version": 1,
        "metadata": {
            **({"timestamp": times["finishedOn"]} if "finishedOn" in times else {}),
            "tools": {"components": [{"type": "application", "name": "expunge", "version": __version__}]},
            "component": model,
        },
        "components": [*data, *libraries],
        "dependencies": [
            {"ref": MODEL, "dependsOn": [each["bom-ref"] for each in (*data, *libraries)]},
            *({"ref": each["bom-ref"]} for each in (*data, *libraries)),
        ],
    }


def _base(record: Mapping[str, Any]) -> dict[str, Any]:
    files = record["digests"]["base model"]
    return {
        "type": "machine-learning-model",
        "bom-ref": BASE,
        "name": BASE,
        "version": storage.digest_value(files)[:16],
        "components": list(_files(BASE, files)),
    }


def _files(where: str, digests: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    for name, digest in digests.items():
        hashes = [{"alg": "SHA-256", "content": digest}]
        yield {"type": "file", "bom-ref": f"{where}/{name}", "name": name, "hashes": hashes}


def _sets(record: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The data sets by name and size; their digests are in the signed statement, salted."""
    for name in sets_of(record["digests"]):
        known = sizes(record).get(name.removesuffix(" set"), {})
        yield {
            "type": "data",
            "bom-ref": f"data/{name}",
            "name": name,
            "data": [{"type": "dataset", "name": name}],
            "properties": [{"name": f"expunge:{key}", "value": str(value)} for key, value in known.items()],
        }


def _libraries(versions: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    for name, version in versions.items():
        if name in NO_PACKAGE:
            continue
        purl = f"pkg:pypi/{quote(name)}@{quote(version, safe='')}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _metric(score: Score) -> dict[str, Any]:
    bounds = {"lowerBound": str(score.low), "upperBound": str(score.high)}
    return {"type": score.measure, "value": str(score.value), "slice": score.split, "confidenceInterval": bounds}


def _architecture(folder: RunFolder) -> str | None:
    """The architecture's name in the model's configuration."""
    path = next(
        (path for path in (folder.model / "config.json", folder.model / "base/config.json") if path.is_file()), None
    )
    config = {} if path is None else storage.read_json(path)
    named = config.get("architectures") if isinstance(config, Mapping) else None
    return str(named[0]) if isinstance(named, list) and named else None
