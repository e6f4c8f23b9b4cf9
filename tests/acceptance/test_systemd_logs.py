"""Logs for people under a real systemd: `procwatch logs` on the real journal, and on a file that logrotate rotates."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support import clients, images, logs
from tests.support.service import CONFIG, QUICK, Service
from tests.support.systemd_box import REPOSITORY, Box, systemd_box
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]  # the first may have to install logrotate

#: systemd.journal-fields(7) PRIORITY=, for each level of ours.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
LOG = "/var/log/procwatch/procwatch.log"


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A machine with logrotate, as far as it can be had: what is installed later would not be seen inside."""
    with contextlib.suppress(pytest.skip.Exception):
        clients.need("logrotate")
    with systemd_box() as machine:
        yield machine


class Follower:
    """`procwatch logs -f …` inside, from its first line on."""

    def __init__(self, service: Service, options: str = "") -> None:
        self._box = service.box
        number = len(list(service.box.srv.glob("followed-*")))
        self._written = service.box.srv / f"followed-{number}"
        command = f"exec {service.program} logs -f {options}"
        started = self._box.run(
            f"cd /; setsid sh -c '{command}' > /srv/{self._written.name} 2> /srv/trouble < /dev/null & echo $!"
        )
        self.pid = int(started.stdout)

    def lines(self) -> list[logs.Line]:
        return logs.read(self._written)

    def wait_for(self, event: str, **fields: object) -> None:
        eventually(lambda: logs.select(self.lines(), event, **fields), 20, 0.1)

    def end(self) -> None:
        """End it as a service manager or a closed terminal would; nothing of it may stay."""
        said = (self._box.srv / "trouble").read_text()
        assert self._box.run(f"kill {self.pid}", check=False).returncode == 0, f"it ended by itself: {said}"
        eventually(lambda: self._box.run(f"test -e /proc/{self.pid}", check=False).returncode == 1, 10)
        eventually(lambda: self._box.run("pgrep -x journalctl", check=False).returncode == 1, 10)


def shown(service: Service, options: str, *, user: str = "root") -> list[logs.Line]:
    """Return what `procwatch logs` prints through a pipe."""
    return logs.parse(service.box.run(f"cd / && {service.program} logs {options}", user=user).stdout)


def since(service: Service) -> str:
    """Return --since for lines of this test, all of them: the journal also has those of the tests before."""
    return f"--since {int(time.time() * 1000) - service.since_us // 1000}ms"


def run_good_and_bad(service: Service) -> None:
    """Start the service; a picture is done and a damaged one fails."""
    service.start()
    service.drop({"good.jpg": images.jpeg(1), "bad.jpg": images.jpeg(2)[:400]})
    service.wait_for("job.done", path="good.jpg")
    service.wait_for("job.failed", path="bad.jpg")


# --- the journal ---


def test_every_line_has_the_priority_of_its_level(service: Service) -> None:
    run_good_and_bad(service)
    service.signal(signal.SIGKILL, service.wait_for("pool.worker_started")["worker_pid"])
    service.wait_for("pool.worker_lost")
    query = f"--since=@{service.since_us / 1e6:.6f} --no-pager"
    unit = f"_SYSTEMD_UNIT={service.unit} _TRANSPORT=stdout"
    entries = [
        json.loads(line) for line in service.box.run(f"journalctl -o json {query} {unit}").stdout.splitlines()
    ]
    levels = {(json.loads(entry["MESSAGE"])["level"], int(entry["PRIORITY"])) for entry in entries}
    assert levels <= set(PRIORITIES.items())
    assert {"debug", "info", "warning", "error"} <= {level for level, _ in levels}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"procwatch"}
    errors = service.box.run(f"journalctl -p err -o cat {query} -u {service.unit}").stdout
    assert [(line["event"], line["path"]) for line in logs.parse(errors)] == [("job.failed", "bad.jpg")]
    warned = logs.parse(service.box.run(f"journalctl -p warning -o cat {query} {unit}").stdout)
    assert {line["event"] for line in warned} == {"job.failed", "pool.worker_lost"}


def test_logs_reads_the_journal_of_the_unit_where_no_file_is_configured(service: Service) -> None:
    run_good_and_bad(service)
    service.stop()
    written = service.lines()
    assert shown(service, since(service)) == written
    assert shown(service, f"--unit procwatch {since(service)}") == written
    assert shown(service, f"--unit procwatch.service -n 3 {since(service)}") == written[-3:]
    assert shown(service, f"--failed {since(service)}") == logs.select(written, "job.failed")
    about_it = [line for line in written if line.get("inbox") == "inbox"]
    assert shown(service, f"--inbox inbox {since(service)}") == about_it
    assert shown(service, f"--inbox other {since(service)}") == []
    stats = json.loads(service.box.run(f"{service.program} logs --stats {since(service)}").stdout)
    assert (stats["done"], stats["failed"]) == (1, 1)
    assert stats["errors"] == {logs.select(written, "job.failed")[0]["error"]: 1}


def test_since_cuts_where_it_says(service: Service) -> None:
    """Exactly there, however long the command takes to start: after its beginning and before its end."""
    service.start()
    service.drop({"first.jpg": images.jpeg(1)})
    service.wait_for("job.done", path="first.jpg")
    between_s = time.time()
    service.drop({"second.jpg": images.jpeg(2)})
    service.wait_for("job.done", path="second.jpg")
    service.stop()
    written = service.lines()
    before_s = time.time()
    ago_s = int((before_s - between_s) * 1000) / 1000
    found = shown(service, f"--since {ago_s * 1000:.0f}ms")
    latest_s = time.time() - ago_s
    assert found == written[len(written) - len(found) :]
    assert not found or moment_s(found[0]) >= between_s - 0.001
    assert [line for line in written if moment_s(line) > latest_s] == [
        line for line in found if moment_s(line) > latest_s
    ]


def moment_s(line: logs.Line) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def test_on_a_terminal_the_journal_is_readable(service: Service) -> None:
    run_good_and_bad(service)
    command = f"script -qec '{service.program} logs --unit procwatch {since(service)}' /dev/null"
    text = service.box.run(command, env={"NO_COLOR": "1", "TERM": "xterm"}).stdout
    assert re.search(r"(?m)^\d\d:\d\d:\d\d done +good.jpg (→|->) good-web.jpg, good-thumb.jpg ", text), text
    assert re.search(r"(?m)^\d\d:\d\d:\d\d failed +bad.jpg  truncated: ", text), text
    assert '"event"' not in text


def test_following_the_journal_goes_on_over_its_rotation_and_restarts_of_the_service(
    service: Service,
) -> None:
    service.start()
    follower = Follower(service, since(service))
    try:
        follower.wait_for("service.ready")
        for number in range(3):
            service.drop({f"{number}.jpg": images.jpeg(number)})
            follower.wait_for("job.done", path=f"{number}.jpg")
            service.box.run("journalctl --rotate")
        service.box.run(f"systemctl restart {service.unit}")
        service.wait_for("service.ready", count=2)
        service.drop({"last.jpg": images.jpeg(9)})
        follower.wait_for("job.done", path="last.jpg")
        service.stop()
        follower.wait_for("service.stopped")
        eventually(lambda: follower.lines() == service.lines(), 10, 0.2)
    finally:
        follower.end()


def test_following_only_failures_shows_them_at_once(service: Service) -> None:
    service.start()
    follower = Follower(service, f"--failed --unit procwatch {since(service)}")
    try:
        service.drop({"good.jpg": images.jpeg(1), "bad.jpg": images.jpeg(2)[:400]})
        follower.wait_for("job.failed", path="bad.jpg")
        service.wait_for("job.done", path="good.jpg")
        assert [line["event"] for line in follower.lines()] == ["job.failed"]
    finally:
        follower.end()


def test_who_may_not_read_the_journal_is_told_how_to(service: Service) -> None:
    run_good_and_bad(service)
    ended = service.box.run(f"cd / && {service.program} logs --unit procwatch", user="bob", check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "usermod -aG systemd-journal" in ended.stderr
    assert "Traceback" not in ended.stderr
    service.box.run("usermod -aG systemd-journal bob")
    failed = shown(service, f"--failed {since(service)}", user="bob")
    assert [line["path"] for line in failed] == ["bad.jpg"]


def test_an_instance_has_its_own_journal(service: Service) -> None:
    box, other = service.box, "procwatch@apart.service"
    box.write("/etc/procwatch/apart.toml", QUICK.replace("/srv/procwatch", "/srv/procwatch/apart"))
    box.run(f"{service.program} unit --install --name apart --yes && systemctl start {other}")
    service.start()
    service.wait_for("service.ready")
    own = shown(service, f"-c /etc/procwatch/apart.toml {since(service)}")
    begun = logs.select(own, "service.started")
    assert [line["config"] for line in begun] == ["/etc/procwatch/apart.toml"]
    begun = logs.select(shown(service, since(service)), "service.started")
    assert [line["config"] for line in begun] == [CONFIG]
    box.run(f"{service.program} unit --uninstall --name apart --yes")


# --- the file ---


def test_logrotate_with_the_shipped_file_loses_and_doubles_nothing(service: Service) -> None:
    """The real logrotate, twice, so that a file is compressed too, while files arrive and somebody follows."""
    clients.need("logrotate")
    box = service.box
    rules = (REPOSITORY / "config/procwatch.logrotate").read_text()
    box.write("/etc/logrotate.d/procwatch", rules)
    box.write(CONFIG, QUICK.replace("[log]", f'[log]\nfile = "{LOG}"'))
    box.run("rm -f /var/log/procwatch/*")
    service.start()
    follower = Follower(service, since(service))
    try:
        follower.wait_for("service.ready")
        for turn in (1, 2):
            service.drop({f"{turn}-{n}.jpg": images.jpeg(n) for n in range(8)})
            said = box.run("logrotate -v -f -s /var/tmp/logrotate.state /etc/logrotate.d/procwatch")
            assert f"renaming {LOG} to {LOG}.1" in said.stderr
            assert "error:" not in said.stderr
            box.run(f"until test -s {LOG}; do sleep 0.1; done", timeout_s=20)
            service.drop({f"{turn}-after.jpg": images.jpeg(turn)})
            service.wait_for("job.done", count=9 * turn)
            assert f"{turn}-after.jpg" in box.run(f"cat {LOG}").stdout
            follower.wait_for("job.done", path=f"{turn}-after.jpg")
        service.stop()
        written = service.lines()
        parts = [box.run(f"zcat -f {path}").stdout for path in (f"{LOG}.2.gz", f"{LOG}.1", LOG)]
        assert [logs.parse(part) != [] for part in parts] == [True, True, True], "the old ones keep theirs"
        assert logs.parse("".join(parts)) == written, "none lost, none twice, in their order"
        assert len({line["path"] for line in logs.select(written, "job.done")}) == 18
        eventually(lambda: follower.lines() == written, 10, 0.2)
        assert box.run(f"stat -c '%U %a' {LOG}").stdout.split() == ["procwatch", "644"]
    finally:
        follower.end()
        box.run(f"rm -f /etc/logrotate.d/procwatch {LOG}*")


def test_the_shipped_rules_name_what_the_unit_makes() -> None:
    rules = Path(REPOSITORY, "config/procwatch.logrotate").read_text()
    assert f"{Path(LOG).parent}/*.log" in rules
    assert "copytruncate\n" not in rules
