"""The folder in which the applications of one host leave their marks."""

from pathlib import Path

import pytest

from tests.hosts.site import Host


@pytest.fixture(scope="module")
def marks(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``stop_marks`` leaves is to be found there."""
    return tmp_path_factory.mktemp("marks")
