"""Which part of expunge may import which: the contracts of pyproject.toml hold, and would notice if they did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_contracts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint_imports(str(PYPROJECT), no_cache=True, no_logo=True) == 0, capsys.readouterr().out


def test_the_contracts_are_there() -> None:
    contracts = read_configuration(str(PYPROJECT))["contracts_options"]
    held = {source for contract in contracts for source in contract.get("source_modules", [])}
    assert {
        "expunge.methods",
        "expunge.train",
        "expunge.report",
        "expunge.kinds.language.recipe",
    } <= held
    assert ["expunge.cli"] in [contract.get("protected_modules") for contract in contracts]
    assert any(contract["type"] == "layers" and contract["exhaustive"] for contract in contracts)


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        (
            'type = "forbidden"\nsource_modules = ["expunge.train"]\nforbidden_modules = ["expunge.kinds.*"]',
            "expunge.kinds.language.lora -> expunge.kinds.language.task",
        ),
        (
            'type = "protected"\nprotected_modules = ["expunge.api"]\nallowed_importers = []',
            "expunge.cli.forget",
        ),
        (
            'type = "layers"\ncontainers = ["expunge"]\nexhaustive = true\nlayers = ["cli", "api"]',
            "kinds",
        ),
        (
            'type = "forbidden"\nsource_modules = ["expunge.kinds.language.recipe"]\nforbidden_modules = ["pydantic"]',
            "expunge.kinds.language.recipe -> pydantic",
        ),
    ],
)
def test_a_broken_contract_is_noticed(
    contract: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same kinds of contract against imports that exist."""
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "expunge"\ninclude_external_packages = true\n'
        f'[[tool.importlinter.contracts]]\nname = "tried"\n{contract}\n'
    )
    assert lint_imports(str(config), no_cache=True, no_logo=True) == 1
    assert told in capsys.readouterr().out
