from __future__ import annotations

import pytest
from planted_pictures import PlantedPictures


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedPictures:
    """The planted classifiers, made once."""
    return PlantedPictures(tmp_path_factory.mktemp("planted"))
