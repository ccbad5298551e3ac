from __future__ import annotations

import pytest
from planted import Planted


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The planted models, made once."""
    return Planted(tmp_path_factory.mktemp("planted"))
