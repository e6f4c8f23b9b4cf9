"""procwatch from pipx, as a person installs it at home: the unit names what stays when pipx and the clone are gone."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.service import CONFIG, QUICK, Service, renditions
from tests.support.systemd_box import REPOSITORY, SYSTEM_PYTHON, Box, pip_environment, systemd_box
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

PROGRAM = "/home/alice/.local/bin/procwatch"


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A machine on which alice has `pipx install`ed a clone, by a pipx that is removed afterwards, like the clone."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("there is no git, or this tree is no repository to clone")
    with systemd_box() as machine:
        machine.run("useradd -m alice && useradd -m bob && chmod 700 /home/alice")
        clone = machine.srv / "clone"
        subprocess.run(
            ["git", "clone", "--quiet", "--depth=1", f"file://{REPOSITORY}", clone],
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )
        machine.run("chown -R alice:alice /srv/clone && install -d -o alice /opt/scratch")
        made = machine.run(
            f"{SYSTEM_PYTHON} -m venv /opt/scratch/venv && /opt/scratch/venv/bin/pip install --quiet --no-input pipx",
            user="alice",
            check=False,
            timeout_s=240,
            env=pip_environment() | {"HOME": "/home/alice"},
        )
        if made.returncode:
            pytest.skip(f"pipx cannot be installed: {made.stderr.strip()[-300:]}")
        machine.run(
            "cd && /opt/scratch/venv/bin/pipx install /srv/clone",
            user="alice",
            timeout_s=400,
            env=pip_environment() | {"HOME": "/home/alice"},
        )
        machine.run("rm -r /srv/clone /opt/scratch")
        yield machine


@pytest.fixture
def printed(box: Box) -> str:
    """The unit as alice sees it, who is not root."""
    return box.run(f"cd / && {PROGRAM} unit --print", user="alice", env={"HOME": "/home/alice"}).stdout


def test_the_unit_names_an_interpreter_in_pipx_s_venv_that_stays(box: Box, printed: str) -> None:
    found = re.search(r"(?m)^ExecStart=(\S+) (.*)$", printed)
    assert found, printed
    python, arguments = found.groups()
    assert re.fullmatch(r"/home/alice/\.local/(share/)?pipx/venvs/procwatch/bin/python[0-9.]*", python)
    box.run(f"test -x {python}")
    real = box.run(f"realpath -e {python}").stdout.strip()
    assert real == os.path.realpath(SYSTEM_PYTHON), "and not in the venv that pipx itself was in"
    assert arguments == "-I -X faulthandler -m procwatch run -c /etc/procwatch/procwatch.toml"
    assert "/opt/scratch" not in printed
    assert "/srv/clone" not in printed
    box.run(f"cd / && env -i {python} -I -m procwatch --version", user="alice")


def test_the_service_sees_the_venv_read_only_and_nothing_else_of_that_home(box: Box, printed: str) -> None:
    venv = re.findall(r"(?m)^ExecStart=(\S+)/bin/python", printed)
    assert re.findall(r"(?m)^BindReadOnlyPaths=(.*)$", printed) == venv
    assert "\nProtectHome=tmpfs\n" in printed


def test_it_is_installed_by_root_started_and_works(box: Box) -> None:
    box.run(f"{PROGRAM} unit --install --yes && usermod -aG procwatch-drop alice")
    box.write(CONFIG, QUICK)
    box.run("touch /home/alice/secret && systemctl enable --now procwatch", timeout_s=100)
    service = Service(box=box, program=PROGRAM)
    assert service.show("ActiveState") == "active"
    command = box.run(f"tr '\\0' ' ' < /proc/{service.pid}/cmdline").stdout
    assert command.startswith("/home/alice/.local/"), command
    service.drop({"a.jpg": images.jpeg(1)})
    service.wait_for("job.done", path="a.jpg")
    eventually(lambda: service.archived() == {"a.jpg"})
    assert service.outputs() == renditions("a.jpg")
    seen = box.run(f"nsenter -t {service.pid} -m ls -A /home/alice").stdout.split()
    assert seen == [".local"]
    assert "notes" in service.wait_for("pool.worker_started")
    assert "sandbox.reduced" not in {line["event"] for line in service.lines()}
    service.stop()
    service.judge()
    box.run(f"{PROGRAM} unit --uninstall --yes")
    assert service.show("LoadState") == "not-found"
