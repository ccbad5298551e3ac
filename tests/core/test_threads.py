"""How threads wait: asleep, unless the user said otherwise."""

from __future__ import annotations

import pytest

from expunge.core.threads import WAITING, wait_asleep


def test_threads_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    assert wait_asleep() == WAITING


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert wait_asleep() == {"OMP_WAIT_POLICY": "ACTIVE"}
