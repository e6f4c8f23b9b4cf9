"""What a reload says about folders that the unit does not let it write: the very command that is needed."""

from pathlib import Path

import pytest

from procwatch.reload import what_the_unit_needs

pytestmark = pytest.mark.integration

SYSTEMD = {"INVOCATION_ID": "0123456789abcdef0123456789abcdef"}


@pytest.mark.parametrize(
    ("unit", "config", "command"),
    [
        ("procwatch.service", "/etc/procwatch/procwatch.toml", "procwatch unit --install,"),
        ("procwatch.service", "/srv/my pics.toml", "procwatch unit --install -c '/srv/my pics.toml',"),
        (
            "system-procwatch.slice/procwatch@scans.service",
            "/etc/procwatch/scans.toml",
            "procwatch unit --install --name scans,",
        ),
        (
            "system-procwatch.slice/procwatch@own.service",
            "/srv/own.toml",
            "procwatch unit --install --name own -c /srv/own.toml,",
        ),
        ("other.service", "/etc/procwatch/procwatch.toml", "procwatch unit --install,"),
    ],
)
def test_the_command_is_the_one_for_this_very_unit(
    unit: str, config: str, command: str, tmp_path: Path
) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.write_text(f"1:name=systemd:/\n0::/system.slice/{unit}\n")
    said = what_the_unit_needs(config, SYSTEMD, str(cgroup))
    assert f"if the unit does not allow this folder yet: {command} then restart the service" in said


def test_without_systemd_there_is_no_unit_to_speak_of(tmp_path: Path) -> None:
    assert what_the_unit_needs("/etc/procwatch/procwatch.toml", {}, str(tmp_path)) == ""


def test_a_cgroup_that_cannot_be_read_costs_only_the_name(tmp_path: Path) -> None:
    said = what_the_unit_needs("/etc/procwatch/scans.toml", SYSTEMD, str(tmp_path / "none"))
    assert "procwatch unit --install -c /etc/procwatch/scans.toml, then" in said
