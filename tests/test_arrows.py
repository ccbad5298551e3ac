"""Which part of expunge may import which: the contracts of pyproject.toml hold, and would notice if they did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from importlinter.api import read_configuration

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: import-linter sets logging up, which closes what other libraries write to in this one."""
    code = "import sys; from importlinter.cli import lint_imports as l; sys.exit(l(sys.argv[1], no_cache=True, no_logo=True))"
    return subprocess.run([sys.executable, "-c", code, config], capture_output=True, text=True, cwd=PYPROJECT.parent)


def test_the_contracts_hold() -> None:
    done = lint(PYPROJECT)
    assert done.returncode == 0, done.stdout + done.stderr


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


BROKEN = {
    'type = "forbidden"\nsource_modules = ["expunge.train"]\nforbidden_modules = ["expunge.kinds.*"]': (
        "expunge.train.step -> expunge.kinds.language.layers.structure"
    ),
    'type = "protected"\nprotected_modules = ["expunge.api"]\nallowed_importers = []': "expunge.cli.forget",
    'type = "layers"\ncontainers = ["expunge"]\nexhaustive = true\nlayers = ["cli", "api"]': "kinds",
    'type = "forbidden"\nsource_modules = ["expunge.kinds.language.recipe"]\nforbidden_modules = ["pydantic"]': (
        "expunge.kinds.language.recipe -> pydantic"
    ),
}
"contracts of the same kinds against imports that exist, and what is told of each"


def test_a_broken_contract_is_noticed(tmp_path: Path) -> None:
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "expunge"\ninclude_external_packages = true\n'
        + "".join(
            f'[[tool.importlinter.contracts]]\nname = "tried {number}"\n{contract}\n'
            for number, contract in enumerate(BROKEN)
        )
    )
    done = lint(config)
    assert done.returncode == 1, done.stderr
    listed, _, details = done.stdout.partition("Broken contracts")
    for number, told in enumerate(BROKEN.values()):
        assert f"tried {number} BROKEN" in listed
        assert told in details.partition(f"tried {number}\n")[2].partition("tried ")[0]
