"""The real logrotate, with the rules that are shipped, while files arrive and somebody follows: no line lost or doubled."""

import gzip
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support import clients, images, logs
from tests.support.daemon import PROGRAM, REPOSITORY, Daemon, environment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]  # the first may have to install logrotate

CONFIG = """
[state]
dir = "state"
[pool]
workers = 2
[log]
file = "log/procwatch.log"
level = "debug"
[[inbox]]
path = "inbox"
settle = "0s"
rescan = "1s"
"""
EACH = 12


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "log").mkdir()
    (tmp_path / "log").chmod(0o755)  # logrotate refuses a folder that a group may write
    (tmp_path / "procwatch.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def rules(site: Path) -> Path:
    """The shipped file with the path of this site, and for the user who runs the daemon here."""
    clients.need("logrotate")
    text = (REPOSITORY / "config/procwatch.logrotate").read_text()
    text, paths = re.subn(r"(?m)^/var/log/procwatch/", f"{site}/log/", text)
    text, users = re.subn(r"(?m)^ *su procwatch procwatch\n", "", text)
    assert (paths, users) == (1, 1)
    adapted = site / "logrotate.conf"
    adapted.write_text(text)
    adapted.chmod(0o644)
    return adapted


def rotate(rules: Path) -> None:
    """Rotate now, as `logrotate` does by itself when the time has come; it must have renamed the log."""
    state = rules.parent / "logrotate.state"
    argv = [clients.path_of("logrotate"), "-v", "-f", "-s", str(state), str(rules)]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr, done.stderr
    assert f"procwatch.log to {rules.parent}/log/procwatch.log.1" in done.stderr, done.stderr


def drop(site: Path, turn: int) -> None:
    for number in range(EACH):
        name = f"{turn}-{number}.jpg"
        images.move_in(site / "inbox" / name, images.jpeg(number), outside=site / "outside")


class Follower:
    """`procwatch logs -f` as a person runs it, ended by Ctrl-C."""

    def __init__(self, site: Path) -> None:
        self._written = site / "followed"
        with self._written.open("wb") as out:
            self._process = subprocess.Popen(
                [*PROGRAM, "logs", "-f", "--since", "1h", "-c", str(site / "procwatch.toml")],
                cwd=site,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
            )

    def lines(self) -> list[logs.Line]:
        return logs.read(self._written)

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == 0


def test_lines_go_to_the_new_file_and_none_is_lost_or_doubled(site: Path, rules: Path) -> None:
    """Three rotations with work under way; each new file begins within a second or so of the next line."""
    log = site / "log/procwatch.log"
    parts: list[list[logs.Line]] = []
    with Daemon("-c", site / "procwatch.toml", cwd=site) as daemon:
        follower = Follower(site)
        try:
            eventually(lambda: logs.select(follower.lines(), "service.ready"))
            for turn in range(3):
                drop(site, turn)
                daemon.wait_for_ends(EACH * turn + EACH // 2)
                inode = log.stat().st_ino
                rotate(rules)
                eventually(log.exists)
                renamed = log.with_name("procwatch.log.1")
                assert renamed.stat().st_ino == inode, "renamed, not copied and cut"
                parts.append(logs.read(renamed))
                daemon.wait_for_ends(EACH * (turn + 1))
                # A follower looks five times a second; nobody rotates a file that is younger than that.
                eventually(lambda: follower.lines()[-1] in logs.read(log))
            written = logs.select(daemon.lines(), "job.done")
            eventually(lambda: len(logs.select(follower.lines(), "job.done")) == len(written))
            daemon.terminate()
            expected = daemon.lines()
            eventually(lambda: follower.lines() == expected)
        finally:
            follower.end()
    assert [file.name for file in sorted(log.parent.iterdir())] == [
        "procwatch.log",
        "procwatch.log.1",
        "procwatch.log.2.gz",
        "procwatch.log.3.gz",
    ]
    old = [log.with_name(f"procwatch.log.{number}.gz") for number in (3, 2)]
    kept = [logs.parse(gzip.decompress(path.read_bytes()).decode("ascii")) for path in old]
    kept += [logs.read(log.with_name("procwatch.log.1")), logs.read(log)]
    assert kept[:3] == parts, "what was renamed keeps its lines and gets no more once there is a new one"
    assert all(kept)
    assert [line for part in kept for line in part] == expected, "none lost, none doubled, in their order"
    ended = Counter(line["path"] for line in logs.terminal(expected))
    assert ended == {f"{turn}-{number}.jpg": 1 for turn in range(3) for number in range(EACH)}


def test_a_signal_makes_the_new_file_at_once(site: Path, rules: Path) -> None:
    """SIGUSR1 in a `postrotate` is not needed, and works where somebody has it from another daemon's rules."""
    log = site / "log/procwatch.log"
    with Daemon("-c", site / "procwatch.toml", cwd=site) as daemon:
        text = rules.read_text()
        script = f"    postrotate\n        kill -USR1 {daemon.pid}\n    endscript\n"
        rules.write_text(text.rstrip().removesuffix("}") + script + "}\n")
        rotate(rules)
        eventually(log.exists, 10)
        drop(site, 0)
        daemon.wait_for_ends(EACH)
        daemon.terminate()
        expected = daemon.lines()
    assert logs.read(log.with_name("procwatch.log.1")) + logs.read(log) == expected
    assert os.path.getsize(log.with_name("procwatch.log.1")) > 0
