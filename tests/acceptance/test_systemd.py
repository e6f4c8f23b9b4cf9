"""The service under a real systemd: installed by `procwatch unit`, used by other users, killed, frozen, stopped."""

import io
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support import images, logs
from tests.support.service import CONFIG, QUICK, Service, now_us, renditions
from tests.support.units import SYSTEMD
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(110)]


def jpegs(count: int, *, noisy: bool = False) -> dict[str, bytes]:
    make = images.noisy_jpeg if noisy else images.jpeg
    return {f"{number}.jpg": make(number) for number in range(count)}


# --- installing ---


def test_install_makes_everything_that_the_service_needs(installed: Service) -> None:
    box = installed.box
    assert box.run("stat -c '%U:%G %a' /srv/procwatch/inbox").stdout.strip() == "root:procwatch-drop 2775"
    assert box.run("stat -c '%U:%G %a' /srv/procwatch/outbox").stdout.strip() == "procwatch:procwatch 2775"
    assert box.run("getent passwd procwatch").stdout.strip().endswith(("/nologin", "/false"))
    assert f"{installed.program.removesuffix('procwatch')}python" in installed.show("ExecStart")
    box.run("systemd-analyze verify procwatch.service")
    shown = box.run("systemd-analyze --no-pager security procwatch.service").stdout
    figure = re.search(r"exposure level for procwatch.service: ([0-9.]+)", shown)
    assert figure, shown
    assert float(figure[1]) <= 0.2


def test_install_again_changes_no_data_and_asks_for_a_restart(service: Service) -> None:
    service.start()
    before = service.box.run(f"cat {CONFIG}").stdout
    said = service.box.run(f"{service.program} unit --install --yes").stdout
    assert "next:  systemctl restart procwatch" in said
    assert service.box.run(f"cat {CONFIG}").stdout == before


def test_install_without_a_yes_changes_nothing(service: Service) -> None:
    ended = service.box.run(f"{service.program} unit --install --name other", check=False)
    assert ended.returncode == 2
    assert "add --yes" in ended.stderr
    assert "write /etc/systemd/system/procwatch@other.service" in ended.stdout
    service.box.run("! test -e /etc/procwatch/other.toml && ! test -e /srv/procwatch/other")


def test_install_asks_a_person_and_takes_no_for_an_answer(service: Service) -> None:
    command = f"script -qec '{service.program} unit --install --name asked' /dev/null"
    ended = service.box.run(f"printf 'n\\n' | {command}", check=False)
    assert ended.returncode == 2
    assert "go on? [y/N]" in ended.stdout
    assert "nothing was changed" in ended.stdout
    service.box.run("! test -e /etc/procwatch/asked.toml")


def test_a_unit_that_somebody_wrote_by_hand_is_left_alone(service: Service) -> None:
    path = "/etc/systemd/system/procwatch@hand.service"
    service.box.write(path, "[Service]\nExecStart=/bin/true\n")
    ended = service.box.run(f"{service.program} unit --install --name hand --yes", check=False)
    service.box.run(f"rm {path}")
    assert ended.returncode == 2
    assert "is left alone" in ended.stderr


def test_uninstall_leaves_data_and_configuration(service: Service) -> None:
    box = service.box
    box.run(f"{service.program} unit --install --name gone --yes && systemctl enable --now procwatch@gone")
    box.run("touch /srv/procwatch/gone/inbox/keep.me")
    box.run(f"{service.program} unit --uninstall --name gone --yes")
    assert box.show("LoadState", "procwatch@gone.service") == "not-found"
    box.run("test -e /srv/procwatch/gone/inbox/keep.me && test -e /etc/procwatch/gone.toml")
    box.run("test -e /var/lib/procwatch/gone/ledger.sqlite && test -e /etc/sysusers.d/procwatch.conf")
    box.run("rm -r /srv/procwatch/gone /etc/procwatch/gone.toml")


# --- running ---


def test_started_means_that_inboxes_are_watched_and_a_worker_has_answered(service: Service) -> None:
    service.box.run(f"systemctl start --no-block {service.unit}")
    eventually(lambda: service.show("ActiveState") == "active", every_s=0.01)
    said = {line["event"] for line in service.lines()}
    assert {"watch.started", "pool.worker_started"} <= said
    assert "sandbox.reduced" not in said, "the unit's own filter must leave the workers theirs"
    assert service.show("StatusText")
    service.wait_for("service.ready")


def test_what_other_users_drop_is_processed_and_readable(service: Service) -> None:
    """cp, mv and a new folder, each as another user; results are for that user and for a third one."""
    service.start()
    source = service.supply({"a.jpg": images.jpeg(1), "b.jpg": images.jpeg(2), "c.jpg": images.jpeg(3)})
    inbox = "/srv/procwatch/inbox"
    service.box.run(
        f"cp {source}/a.jpg {inbox}/; mv {source}/b.jpg {inbox}/; mkdir {inbox}/new; cp {source}/c.jpg {inbox}/new/",
        user="alice",
    )
    expected = renditions("a.jpg", "b.jpg", "new/c.jpg")
    eventually(lambda: service.archived() == {"a.jpg", "b.jpg", "new/c.jpg"})
    assert service.outputs() == expected
    for user in ("alice", "bob"):
        service.box.run(
            f"cd /srv/procwatch/outbox && cat {' '.join(sorted(expected))} > /dev/null", user=user
        )
    for name in expected:
        with Image.open(io.BytesIO((service.home / "outbox" / name).read_bytes())) as picture:
            picture.load()
    workers = {line["worker_pid"] for line in logs.select(service.lines(), "pool.worker_started")}
    done = logs.select(service.lines(), "job.done")
    assert {line["worker_pid"] for line in done} <= workers


def test_whoever_may_drop_files_may_not_change_what_comes_of_them(service: Service) -> None:
    """The inbox is for a group of its own, which the service is in: also for files that only that group may read."""
    service.start()
    source = service.supply({"a.jpg": images.jpeg(1)})
    service.box.run(f"install -m 640 {source}/a.jpg /srv/procwatch/inbox/", user="alice")
    eventually(lambda: service.archived() == {"a.jpg"})
    assert service.outputs() == renditions("a.jpg")
    assert "procwatch-drop" in service.box.run("id -nG procwatch").stdout.split()
    for what in ("touch {}/x", "mkdir {}/x", "ln -s /etc {}/x"):
        for folder in ("outbox", "archive", "failed"):
            there = f"/srv/procwatch/{folder}"
            denied = service.box.run(what.format(there), user="alice", check=False)
            assert "Permission denied" in denied.stderr, (what, folder)
    name = min(service.outputs())
    denied = service.box.run(f"rm -f /srv/procwatch/outbox/{name}", user="alice", check=False)
    assert "Permission denied" in denied.stderr


def test_modes_of_results_do_not_depend_on_the_sandbox(service: Service) -> None:
    """RestrictSUIDSGID= forbids to set setgid; it is inherited, so the group can go on working in new folders."""
    service.start()
    source = service.supply({"c.jpg": images.jpeg(3)})
    service.box.run(
        f"mkdir /srv/procwatch/inbox/new; cp {source}/c.jpg /srv/procwatch/inbox/new/", user="alice"
    )
    service.wait_for("job.done")
    assert oct((service.home / "outbox/new").stat().st_mode) == "0o42775"
    assert oct((service.home / "outbox/new/c-web.jpg").stat().st_mode) == "0o100664"


def test_an_original_is_renamed_into_the_archive_not_copied(service: Service) -> None:
    """Each entry of ReadWritePaths= is a mount, and a rename across mounts fails: one entry must hold both folders."""
    service.start()
    source = service.supply({"a.jpg": images.jpeg(1)})
    inode = (service.box.srv / os.path.basename(source) / "a.jpg").stat().st_ino
    service.box.run(f"mv {source}/a.jpg /srv/procwatch/inbox/", user="alice")
    eventually(lambda: service.archived() == {"a.jpg"})
    assert (service.home / "archive/a.jpg").stat().st_ino == inode


def test_folders_that_are_mounts_of_their_own_work_too(service: Service) -> None:
    each = " ".join(f"/srv/procwatch/{name}" for name in ("inbox", "outbox", "archive", "failed"))
    service.drop_in(f"[Service]\nReadWritePaths=\nReadWritePaths={each}\n", "mounts")
    service.start()
    service.drop(jpegs(2))
    eventually(lambda: service.archived() == {"0.jpg", "1.jpg"})
    assert service.outputs() == renditions("0.jpg", "1.jpg")
    eventually(lambda: not list((service.home / "inbox").iterdir()))  # a copy is removed after it is there


def test_a_folder_copied_by_another_user_is_done_and_can_be_mended_later(service: Service) -> None:
    """`cp -r` gives folders the modes of its source: the service may read there, and remove nothing."""
    service.start()
    source = service.supply({"album/1.jpg": images.jpeg(1), "album/sub/2.jpg": images.jpeg(2)})
    service.box.run(f"cp -r {source}/album /srv/procwatch/inbox/", user="alice")
    for path in ("album/1.jpg", "album/sub/2.jpg"):
        service.wait_for("job.done", path=path)
        assert "chmod g+w" in service.wait_for("file.stuck", path=path)["hint"]
    assert service.outputs() == renditions("album/1.jpg", "album/sub/2.jpg")
    service.box.run("chmod -R g+w /srv/procwatch/inbox/album", user="alice")
    service.stop()
    service.start()  # housekeeping, which tries again, runs at start and then now and again
    eventually(lambda: service.archived() == {"album/1.jpg", "album/sub/2.jpg"})
    assert len(logs.select(service.lines(), "job.done")) == 2, "and nothing is rendered twice"


def test_with_the_drop_in_for_any_owner_such_a_folder_is_archived(service: Service) -> None:
    service.drop_in((SYSTEMD / "drop-ins/any-owner.conf").read_text(), "any-owner")
    service.start()
    source = service.supply({"album/1.jpg": images.jpeg(1), "album/sub/2.jpg": images.jpeg(2)})
    service.box.run(f"cp -r {source}/album /srv/procwatch/inbox/", user="alice")
    eventually(lambda: service.archived() == {"album/1.jpg", "album/sub/2.jpg"})
    worker = service.wait_for("pool.worker_started")["worker_pid"]
    assert re.search(r"CapEff:\s+0+\n", service.box.run(f"cat /proc/{worker}/status").stdout)
    denied = in_sandbox(service, "cat /etc/shadow; touch /etc/x", check=False)
    assert "Permission denied" in denied
    assert "Read-only file system" in denied


def test_a_log_file_is_followed_by_a_new_one_when_it_is_rotated(service: Service) -> None:
    """What config/procwatch.logrotate relies on: a rename is enough, no signal, no line lost; within a second or so."""
    log = "/var/log/procwatch/procwatch.log"
    service.box.write(CONFIG, QUICK.replace("[log]", f'[log]\nfile = "{log}"'))
    service.start()
    service.wait_for("service.ready")
    service.box.run(f"mv {log} {log}.1")
    service.drop(jpegs(1))
    service.wait_for("job.done")
    service.box.run(f"until test -s {log}; do sleep 0.1; done", timeout_s=20)
    service.stop()
    assert service.box.run(f"cat {log}.1 {log}").stdout.splitlines() == service.journal()


# --- trouble ---


def test_a_killed_worker_does_not_end_the_service(service: Service) -> None:
    service.start()
    pid = service.pid
    worker = service.wait_for("pool.worker_started")["worker_pid"]
    service.signal(signal.SIGKILL, worker)
    service.drop(jpegs(4))
    eventually(lambda: len(service.archived()) == 4)
    assert (service.show("NRestarts"), service.pid) == ("0", pid)


def test_a_killed_daemon_is_started_again_and_nothing_is_lost(service: Service) -> None:
    service.killed = True
    service.start()
    first = service.pid
    service.drop(jpegs(100, noisy=True))  # more than are published at a time
    service.wait_for("job.done")
    service.signal(signal.SIGKILL)
    eventually(lambda: len(service.archived()) == 100, 60, 0.1)
    assert service.show("NRestarts") == "1"
    assert service.pid not in {0, first}
    assert service.outputs() == renditions(*jpegs(100))
    ends = {(line["path"], line["job"]) for line in logs.terminal(service.lines())}
    assert Counter(path for path, _ in ends) == Counter(jpegs(100).keys())


def test_a_frozen_loop_is_ended_by_the_watchdog_and_started_again(service: Service) -> None:
    service.killed = True
    service.drop_in("[Service]\nWatchdogSec=2s\nTimeoutAbortSec=2s\n", "watchdog")
    service.start()
    frozen = service.pid
    service.signal(signal.SIGSTOP)
    eventually(lambda: service.show("NRestarts") == "1", 30, 0.2)
    eventually(lambda: service.show("ActiveState") == "active")
    assert service.pid != frozen
    assert "Fatal Python error: Aborted" in service.journal(), "and the journal has the stacks"
    service.drop(jpegs(2))
    eventually(lambda: len(service.archived()) == 2)


def test_an_idle_service_keeps_the_watchdog_content(service: Service) -> None:
    service.drop_in("[Service]\nWatchdogSec=1s\n", "watchdog")
    service.start()
    pid = service.pid
    time.sleep(4)  # the passing of time is what is tested
    assert (service.show("NRestarts"), service.pid) == ("0", pid)


def test_stop_lets_the_running_job_end_and_leaves_the_rest(service: Service) -> None:
    service.start()
    group = service.show("ControlGroup")
    source = service.supply({f"{n}.png": images.slow_png(6400) + bytes(n) for n in range(4)})
    service.box.run(f"mv {source}/*.png /srv/procwatch/inbox/", user="alice")
    service.wait_for("job.started")
    service.stop()
    lines = service.lines()
    running = logs.select(lines, "service.stopping")[0]["running"]
    assert running >= 1
    assert len(logs.select(lines, "job.done")) >= running
    assert lines[-1]["event"] == "service.stopped"
    assert service.show("Result") == "success"
    assert len(service.archived()) + len(list((service.home / "inbox").iterdir())) == 4
    service.box.run(f"! test -s /sys/fs/cgroup{group}/cgroup.procs")


def test_a_mistake_in_the_configuration_is_told_and_not_tried_for_ever(service: Service) -> None:
    service.box.write(CONFIG, QUICK.replace("settle", "setle"))
    assert service.box.run(f"systemctl start {service.unit}", check=False).returncode != 0
    time.sleep(1)  # five times RestartSec= of these tests
    assert [service.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")] == [
        "failed",
        "3",
        "0",
    ]
    assert any('did you mean "settle"' in line for line in service.journal())


def test_systemctl_reload_takes_over_a_good_configuration_and_refuses_a_bad_one(service: Service) -> None:
    service.box.write(CONFIG, QUICK)
    service.start()
    pid = service.pid
    service.drop({"before.jpg": images.jpeg(1)})
    service.wait_for("job.done", path="before.jpg")

    service.box.write(CONFIG, QUICK.replace("workers = 2", "workers = 1"))
    service.box.run(f"systemctl reload {service.unit}")
    assert service.wait_for("service.reloaded")["workers"] == 1

    service.box.write(CONFIG, QUICK.replace("settle", "setle"))
    service.box.run(f"systemctl reload {service.unit}", check=False)
    told = service.wait_for("config.rejected")
    assert any('did you mean "settle"' in mistake for mistake in told["mistakes"]), told

    service.drop({"after.jpg": images.jpeg(2)})
    service.wait_for("job.done", path="after.jpg")
    assert service.pid == pid, "a reload is no restart"
    service.box.write(CONFIG, QUICK)


SCANS = """
[[inbox]]
name = "scans"
path = "/mnt/scans/inbox"
settle = "0s"
incomplete_after = "1s"
rescan = "1s"
"""


@pytest.fixture
def scans(service: Service) -> Iterator[str]:
    """A folder that the service's user may write, and that its unit does not name."""
    service.box.run("install -d -o procwatch -g procwatch -m 2777 /mnt/scans /mnt/scans/inbox")
    yield "/mnt/scans/inbox"
    service.box.write(CONFIG, QUICK)
    service.box.run(f"{service.program} unit --install --yes && systemctl stop {service.unit}")
    service.box.run("rm -r /mnt/scans")


def test_a_reload_with_an_inbox_outside_of_the_sandbox_says_what_to_do_and_that_helps(
    service: Service, scans: str
) -> None:
    """The new inbox is degraded and told, the others go on; `unit --install` and a restart bring it in."""
    service.start()
    pid = service.pid
    service.box.write(CONFIG, QUICK + SCANS)
    service.box.run(f"systemctl reload {service.unit}")
    assert service.wait_for("service.reloaded")["added"] == ["scans"]
    lost = service.wait_for("watch.lost", inbox="scans")
    assert "Read-only file system" in lost["reason"]
    assert "procwatch unit --install, then restart the service" in lost["reason"]
    eventually(lambda: "not watched: scans" in service.show("StatusText"), 15, 0.2)
    state = f"STATE_DIRECTORY=/var/lib/procwatch {service.program} status -c {CONFIG}"
    eventually(lambda: service.box.run(state, check=False).returncode == 1, 10, 0.5)
    assert "procwatch unit --install, then" in " ".join(service.box.run(state, check=False).stdout.split())

    source = service.supply({"new.jpg": images.jpeg(1)})
    service.box.run(f"cp {source}/new.jpg {scans}/", user="alice")
    service.drop({"old.jpg": images.jpeg(2)})
    service.wait_for("job.done", path="old.jpg")
    service.box.run(f"test -e {scans}/new.jpg")
    assert service.pid == pid

    said = service.box.run(f"{service.program} unit --install --yes").stdout
    assert "next:  systemctl restart procwatch" in said
    service.box.run(f"systemctl restart {service.unit}")
    assert service.wait_for("job.done", path="new.jpg")["inbox"] == "scans"
    eventually(lambda: service.box.run("test -e /mnt/scans/archive/new.jpg", check=False).returncode == 0)
    eventually(lambda: service.box.run(state, check=False).returncode == 0, 10, 0.5)


@pytest.mark.parametrize(
    "change",
    [("/srv/procwatch/inbox", "/mnt/scans/inbox"), ("[log]", '[log]\nfile = "/mnt/scans/log/p.log"')],
    ids=["every-inbox", "log"],
)
def test_a_reload_that_could_do_nothing_in_the_sandbox_is_refused_and_says_what_to_do(
    service: Service, scans: str, change: tuple[str, str]
) -> None:
    service.start()
    service.box.write(CONFIG, QUICK.replace(*change))
    service.box.run(f"systemctl reload {service.unit}")
    told = service.wait_for("config.rejected")
    assert "Read-only file system" in told["mistakes"][0]
    assert "procwatch unit --install, then restart the service" in told["hint"]
    service.drop({"a.jpg": images.jpeg(1)})
    service.wait_for("job.done", path="a.jpg")

    service.box.run(f"{service.program} unit --install --yes && systemctl restart {service.unit}")
    service.wait_for("service.ready", count=2)
    source = service.supply({"b.jpg": images.jpeg(2)})
    target = scans if change[1] == scans else "/srv/procwatch/inbox"
    service.box.run(f"cp {source}/b.jpg {target}/", user="alice")
    service.wait_for("job.done", path="b.jpg")


def test_the_status_line_comes_back_after_a_reload(service: Service) -> None:
    service.start()
    service.box.run(f"systemctl reload {service.unit}")
    service.wait_for("service.reloaded")
    eventually(lambda: "0 waiting" in service.show("StatusText"), 15, 0.2)


def test_a_late_mount_is_waited_for(service: Service) -> None:
    """Exit 4, no inbox can be watched: the unit comes back until the folder is there."""
    service.box.write(CONFIG, QUICK.replace("/srv/procwatch/inbox", "/srv/procwatch/late/inbox"))
    service.box.run(f"systemctl start --no-block {service.unit}")
    eventually(lambda: int(service.show("NRestarts")) >= 2, 20, 0.1)
    eventually(lambda: service.show("ExecMainStatus") == "4", every_s=0)
    assert any("mount what belongs there" in line for line in service.journal())
    service.box.run(
        "install -d -o procwatch -g procwatch -m 2775 /srv/procwatch/late /srv/procwatch/late/inbox"
    )
    eventually(lambda: service.show("ActiveState") == "active")
    service.stop()
    service.box.run("rm -r /srv/procwatch/late")


def test_a_second_daemon_on_the_same_inbox_ends_and_stays_ended(service: Service) -> None:
    """The shipped template as it is, beside the service that holds the inbox."""
    service.start()
    unit = (SYSTEMD / "procwatch@.service").read_text()
    assert "/opt/procwatch/bin/python" in unit
    service.box.write("/etc/systemd/system/procwatch@.service", unit)
    service.box.write("/etc/procwatch/twin.toml", QUICK)
    service.box.run("systemctl daemon-reload")
    assert service.box.run("systemctl start procwatch@twin", check=False).returncode != 0
    time.sleep(1)
    assert service.box.show("ExecMainStatus", "procwatch@twin.service") == "5"
    assert service.box.show("NRestarts", "procwatch@twin.service") == "0"
    service.box.run("systemctl reset-failed && rm /etc/systemd/system/procwatch@.service")


# --- the sandbox ---


def in_sandbox(service: Service, command: str, *, check: bool = True) -> str:
    """Run a command as the service's user in the daemon's own namespaces, and return all that it printed."""
    inside = f"nsenter -t {service.pid} -m -n setpriv --reuid procwatch --regid procwatch --init-groups"
    ended = service.box.run(f"{inside} sh -c '{command}'", check=check)
    return ended.stdout + ended.stderr


def test_the_service_can_write_nowhere_else(service: Service) -> None:
    """What is open to everyone outside is closed in there, so it is ProtectSystem= that holds and not a file mode."""
    service.box.run(
        "mkdir -p -m 0777 /srv/open /var/open /home/open /mnt/open; chmod 0777 /srv/open /var/open /mnt/open"
    )
    service.start()
    for folder in ("/srv/open", "/var/open", "/mnt/open"):
        assert "Read-only file system" in in_sandbox(service, f"touch {folder}/x", check=False)
    assert in_sandbox(service, "ls -A /home /root 2>&1 | grep -v :", check=False).strip() == ""
    in_sandbox(service, "touch /srv/procwatch/inbox/.probe && rm /srv/procwatch/inbox/.probe")
    service.box.run("touch /tmp/outside")
    assert "outside" not in in_sandbox(service, "ls /tmp")


def test_the_service_has_no_network_no_capability_and_a_filter(service: Service) -> None:
    service.start()
    status = service.box.run(f"cat /proc/{service.pid}/status").stdout
    values = dict(re.findall(r"(?m)^(\w+):\s+(.*)$", status))
    assert {int(values[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    interfaces = service.box.run(f"cut -d: -f1 /proc/{service.pid}/net/dev | tail -n +3").stdout.split()
    assert set(interfaces) <= {"lo"}


def test_folders_of_one_s_own_choice_are_made_and_used_whatever_they_are_called(service: Service) -> None:
    box = service.box
    folder = "/mnt/100% $HOME pics"
    text = QUICK.replace("/srv/procwatch", folder).replace("[log]", f'[log]\nfile = "{folder}/log/p.log"')
    box.write("/etc/procwatch/own.toml", f'{text}[state]\ndir = "/mnt/state of it"\n')
    said = box.run(f"{service.program} unit --install --name own --yes").stdout
    assert f"make {folder}/inbox for root:procwatch-drop, mode 2775" in said
    other = Service(box=box, program=service.program, unit="procwatch@own.service", since_us=now_us())
    other.start()
    source = service.supply({"a.jpg": images.jpeg(1)})
    box.run(f"cp {source}/a.jpg '{folder}/inbox/'", user="alice")
    other.wait_for("job.done")
    box.run(f"until test -e '{folder}/archive/a.jpg'; do sleep 0.1; done", timeout_s=20)
    box.run(f"test -s '{folder}/log/p.log' && test -s '/mnt/state of it/ledger.sqlite'")
    other.stop()
    other.judge()
    box.run(f"{service.program} unit --uninstall --name own --yes; rm -r '{folder}' '/mnt/state of it'")


def test_an_inbox_below_home_works_and_nothing_else_of_home_is_seen(service: Service) -> None:
    box = service.box
    box.run(
        "mkdir -p /home/alice/pictures/inbox; touch /home/alice/secret; chmod 700 /home/alice;"
        " chown -R alice:procwatch /home/alice/pictures; chmod -R 2775 /home/alice/pictures"
    )
    box.write("/etc/procwatch/alice.toml", QUICK.replace("/srv/procwatch", "/home/alice/pictures"))
    said = box.run(f"{service.program} unit --install --name alice --yes").stdout
    assert "setfacl -R -m u:procwatch:rwX" in said
    other = Service(box=box, program=service.program, unit="procwatch@alice.service", since_us=now_us())
    other.start()
    source = service.supply({"a.jpg": images.jpeg(1)})
    box.run(f"cp {source}/a.jpg /home/alice/pictures/inbox/", user="alice")
    other.wait_for("job.done")
    box.run("until test -e /home/alice/pictures/archive/a.jpg; do sleep 0.1; done", timeout_s=20)
    assert in_sandbox(other, "find /home -mindepth 1 -maxdepth 2").split() == [
        "/home/alice",
        "/home/alice/pictures",
    ]
    other.stop()
    other.judge()
    box.run(f"{service.program} unit --uninstall --name alice --yes; rm -r /home/alice/pictures")


def test_an_installation_below_root_is_made_visible_to_the_service(service: Service) -> None:
    """As pipx run by root leaves it: ProtectHome= would hide the interpreter (status 203/EXEC)."""
    box = service.box
    home = box.run("printf %s ~root").stdout
    venvs = f"{home}/venvs"
    box.run(f"mkdir -p {venvs} && cp -a /opt/procwatch {venvs}/procwatch")
    said = box.run(f"{venvs}/procwatch/bin/python -m procwatch unit --install --name rooted --yes").stdout
    assert "the service sees that read-only" in said
    other = Service(box=box, program=service.program, unit="procwatch@rooted.service", since_us=now_us())
    other.start()
    assert f"{venvs}/procwatch" in box.run(f"tr '\\0' ' ' < /proc/{other.pid}/cmdline").stdout
    assert in_sandbox(other, f"find {home} -mindepth 1 -maxdepth 2").split() == [
        venvs,
        f"{venvs}/procwatch",
    ]
    other.stop()
    other.judge()
    box.run(f"{service.program} unit --uninstall --name rooted --yes; rm -r {venvs} /srv/procwatch/rooted")


def test_the_default_configuration_of_an_install_works_as_it_is(service: Service, tmp_path: Path) -> None:
    box = service.box
    box.run(f"rm {CONFIG} && {service.program} unit --install --yes")
    service.start()
    service.drop(jpegs(1))
    eventually(lambda: service.archived() == {"0.jpg"})
    for user in ("root", "bob"):
        shown = service.box.run(f"{service.program} status --json", user=user).stdout
        assert json.loads(shown), user
