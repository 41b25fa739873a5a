"""Every file in ``broken/`` is refused with the text that stands beside it; ``{folder}`` is where the file lies."""

from pathlib import Path

import pytest

from asyncgroups.config import read
from asyncgroups.errors import ConfigurationError

BROKEN = Path(__file__).parent / "broken"
CASES = sorted(path.stem for path in BROKEN.glob("*.toml"))


@pytest.mark.parametrize("case", CASES)
def test_a_broken_configuration_says_all_that_is_wrong(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All errors of a file are reported in one go, each with its place and a sentence to act on."""
    monkeypatch.chdir(BROKEN)
    with pytest.raises(ConfigurationError) as caught:
        read(f"{case}.toml")
    expected = (BROKEN / f"{case}.txt").read_text(encoding="utf-8").replace("{folder}", str(BROKEN))
    assert f"{caught.value}\n" == expected


def test_every_expected_text_has_its_configuration() -> None:
    """A text without a file would be a test that nobody runs."""
    assert CASES
    assert sorted(path.stem for path in BROKEN.glob("*.txt")) == CASES
