"""Fixtures of the acceptance ring; every test must leave no process behind."""

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.oracle import Oracle
from tests.support.places import Places
from tests.support.service import Service
from tests.support.systemd_box import Box, build_wheel, systemd_box
from tests.support.waiting import eventually


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The folders of one zero-configuration run; nothing is made yet."""
    return Places(root=tmp_path / "site")


@pytest.fixture
def oracle(places: Places) -> Iterator[Oracle]:
    """Accounts for everything that the test drops into `places`, once more when the test is over."""
    everything = Oracle(places=places)
    yield everything
    everything.check()


@pytest.fixture(autouse=True)
def no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test when a process that it started, or one of that process's children, lives on."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(processes.MARK, mark)
    yield

    def gone() -> bool:
        return not processes.marked(mark)

    try:
        eventually(gone, timeout_s=5.0)
    except AssertionError as error:
        left = {pid: processes.command_line(pid) for pid in processes.marked(mark)}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"left behind: {left}") from error


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with systemd_box() as machine:
        yield machine


@pytest.fixture(scope="module")
def installed(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A machine on which somebody followed the manual: a venv in /opt, then `procwatch unit --install`."""
    program = box.install(build_wheel(tmp_path_factory.mktemp("wheel"), sys.executable))
    box.run(f"{program} unit --install --yes")
    box.run("useradd -m alice && useradd -m bob && usermod -aG procwatch-drop alice")
    return Service(box=box, program=program)


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The service, stopped, on empty folders; its log is judged afterwards."""
    service = Service(box=installed.box, program=installed.program)
    service.fresh()
    yield service
    if service.show("ActiveState") == "active":
        service.stop()
    service.judge()
