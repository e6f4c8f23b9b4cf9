"""Fault points: named, counted, and quiet unless asked."""

import errno
from collections.abc import Iterator

import pytest

from procwatch import faults

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    faults.arm(None)


def test_nothing_happens_while_nothing_is_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    faults.arm(None)

    for name in faults.POINTS:
        faults.point(name)

    assert faults.passes() == {}


def test_an_errno_is_raised_at_the_chosen_pass_only() -> None:
    faults.arm("fs.rename:2:ENOSPC, fs.unlink:1:EROFS")

    faults.point("fs.rename")
    with pytest.raises(OSError, match=r"fault injected at fs\.rename") as caught:
        faults.point("fs.rename")
    faults.point("fs.rename")
    with pytest.raises(OSError, match="Read-only"):
        faults.point("fs.unlink")

    assert caught.value.errno == errno.ENOSPC
    assert faults.passes() == {"fs.rename": 3, "fs.unlink": 1}


def test_the_environment_is_read_at_the_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "fs.mkdir:1:EACCES")
    faults.arm(None)

    with pytest.raises(PermissionError):
        faults.point("fs.mkdir")


def test_a_typo_in_the_code_raises_also_while_nothing_is_armed() -> None:
    faults.arm("")

    with pytest.raises(KeyError):
        faults.point("fs.renmae")


@pytest.mark.parametrize(
    "text", ["fs.renmae:1", "fs.rename", "fs.rename:0", "fs.rename:x", "fs.rename:1:ENOPE"]
)
def test_a_typo_in_the_variable_raises(text: str) -> None:
    with pytest.raises(ValueError, match=faults.VARIABLE):
        faults.arm(text)
