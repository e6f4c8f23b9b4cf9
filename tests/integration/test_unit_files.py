"""The shipped unit files, judged by systemd itself: valid, and as closed as their documentation says."""

import re
from pathlib import Path

import pytest

from tests.support import units

pytestmark = pytest.mark.integration

UNITS = ("procwatch.service", "procwatch@.service")
#: What each drop-in costs; systemd/README.md shows the same figures.
EXPOSURES = {
    "inbox-scans.conf": 0.2,
    "inbox-home.conf": 0.2,
    "network.conf": 0.9,
    "any-owner.conf": 0.7,
}
#: What issue and design ask of the service, whatever else changes.
PROMISED = """
Type=notify
NotifyAccess=main
Restart=always
RestartSec=10
RestartPreventExitStatus=2 3 5
StartLimitIntervalSec=0
KillMode=mixed
OOMPolicy=continue
LogRateLimitIntervalSec=0
MemoryMax=80%
TasksMax=512
ProtectSystem=strict
NoNewPrivileges=yes
CapabilityBoundingSet=
PrivateNetwork=yes
"""


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_exposed_by_at_most_0_2(name: str, tmp_path: Path) -> None:
    assert units.exposure(units.stage(tmp_path, name)) <= 0.2


@pytest.mark.parametrize("name", ["procwatch.service", "procwatch@scans.service"])
def test_systemd_finds_nothing_to_complain_about(name: str, tmp_path: Path) -> None:
    units.stage(tmp_path, re.sub("@.*\\.", "@.", name))
    assert units.analyze("verify", tmp_path / name) == ""


@pytest.mark.parametrize("drop_in", sorted(path.name for path in (units.SYSTEMD / "drop-ins").iterdir()))
def test_each_drop_in_is_valid_and_costs_what_is_written(drop_in: str, tmp_path: Path) -> None:
    unit = units.stage(tmp_path, drop_in=drop_in)
    assert units.analyze("verify", unit) == ""
    assert units.exposure(unit) <= EXPOSURES[drop_in]


def test_a_drop_in_is_seen_by_the_analysis(tmp_path: Path) -> None:
    """Without this, a figure above could be that of the unit alone."""
    assert units.exposure(units.stage(tmp_path, drop_in="network.conf")) > 0.2


@pytest.mark.parametrize("name", UNITS)
def test_what_was_promised_of_the_service_stands_in_the_unit(name: str) -> None:
    lines = units.directives((units.SYSTEMD / name).read_text())
    missing = set(PROMISED.split("\n")[1:-1]) - set(lines)
    assert not missing
    assert any(re.fullmatch(r"Nice=\d+", line) for line in lines)


def test_the_template_differs_from_the_unit_only_in_what_names_the_instance() -> None:
    single, template = (units.directives((units.SYSTEMD / name).read_text()) for name in UNITS)
    changed = {(a, b) for a, b in zip(single, template, strict=True) if a != b}
    assert {a.partition("=")[0] for a, _ in changed} == {"Description", "ExecStart", "StateDirectory"}
    assert all("%i" in b for _, b in changed)


def test_every_choice_is_explained() -> None:
    """A directive stands under a comment, or under one that does; a blank line ends what a comment covers."""
    explained = True
    for line in (units.SYSTEMD / "procwatch.service").read_text().splitlines():
        if not line or line.startswith("["):
            explained = line.startswith("[")
        elif line.startswith("#"):
            explained = not line.startswith("# ---")  # a heading explains nothing
        else:
            assert explained, line


def test_no_comment_hides_in_a_value() -> None:
    """systemd has no comments at the end of a line: the rest of it would be part of the value."""
    for path in units.SYSTEMD.rglob("*.[cs]o*"):
        for line in units.directives(path.read_text()) if path.suffix in {".conf", ".service"} else ():
            assert " #" not in line, (path, line)


def test_the_manual_shows_these_figures() -> None:
    page = (units.SYSTEMD / "README.md").read_text()
    shown = dict(re.findall(r"(?m)^\| with `drop-ins/([a-z-]+\.conf)` \| ([0-9.]+) \|", page))
    assert shown == {name: str(figure) for name, figure in EXPOSURES.items()}
    assert "| `procwatch.service`, `procwatch@.service` | 0.2 |" in page
