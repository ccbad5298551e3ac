from __future__ import annotations

import pytest
from planted_generators import PlantedGenerators


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedGenerators:
    """The planted generators, made once."""
    return PlantedGenerators(tmp_path_factory.mktemp("planted"))
