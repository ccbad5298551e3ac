"""A benchmark's parts on the hub: configurations and splits, asked for by the library datasets."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.errors import DataError
from expunge.suites.tofu import rows
from expunge.suites.tofu.rows import Files

HUB: dict[str, dict[str, list[dict[str, Any]]]] = {
    "raw": {"forget": [{"text": "a"}, {"text": "b"}], "retain1": [{"text": "c"}]},
    "full": {"train": [{"question": "Who?", "answer": "He."}]},
}


class Hub:
    """The functions of the library that are used, over `HUB`."""

    def get_dataset_config_names(self, name: str) -> list[str]:
        if name != "owner/set":
            raise ConnectionError("no network")
        return list(HUB)

    def get_dataset_split_names(self, name: str, configuration: str) -> list[str]:
        return list(HUB[configuration])

    def load_dataset(self, name: str, configuration: str, split: str) -> list[dict[str, Any]]:
        return HUB[configuration][split]


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_datasets", lambda name: Hub())


def test_a_split_of_a_configuration_is_a_part() -> None:
    files = Files("owner/set")
    assert files.rows("raw/forget") == [
        ("owner/set:raw/forget:1", {"text": "a"}),
        ("owner/set:raw/forget:2", {"text": "b"}),
    ]
    assert len(files.rows("raw/forget", most=1)) == 1
    assert files.rows("full") == [("owner/set:full:1", {"question": "Who?", "answer": "He."})]
    assert files.first("raw/test", "other/forget", "raw/retain1") == "raw/retain1"


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="owner/set has no raw/retain2") as caught:
        Files("owner/set").rows("raw/retain2")
    assert "raw, full" in str(caught.value)
    with pytest.raises(DataError, match="cannot be read") as caught:
        Files("owner/other").rows("raw/forget")
    assert "no network" in str(caught.value)
