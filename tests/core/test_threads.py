"""How threads wait: briefly, unless the user said otherwise."""

from __future__ import annotations

import pytest

from expunge.core.threads import ROUNDS, SPIN, in_use, wait_briefly


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPIN, "")
    monkeypatch.delenv(SPIN)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_threads_sleep_soon() -> None:
    wait_briefly()
    assert in_use()[SPIN] == ROUNDS


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_briefly()
    assert SPIN not in in_use()
    assert in_use()["OMP_WAIT_POLICY"] == "ACTIVE"
