"""Drive `procwatch.service` inside a systemd box: configure, start, drop, look, and judge its log at the end."""

import os
import shlex
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import images, logs
from tests.support.systemd_box import Box
from tests.support.waiting import eventually

UNIT = "procwatch.service"
CONFIG = "/etc/procwatch/procwatch.toml"
#: Everything of it is quick; the service itself is as it is shipped.
QUICK = """
[[inbox]]
path = "/srv/procwatch/inbox"
settle = "0s"
incomplete_after = "1s"
rescan = "1s"
[pool]
workers = 2
[log]
level = "debug"
"""


@dataclass(kw_only=True)
class Service:
    """The service under its own systemd. `home` is /srv/procwatch, seen from outside of the box."""

    box: Box
    program: str
    unit: str = UNIT
    since_us: int = 0
    killed: bool = False

    @property
    def home(self) -> Path:
        return self.box.srv / "procwatch"

    def fresh(self) -> None:
        """Stop it, empty every folder, forget every drop-in: each test begins with a new machine."""
        self.box.run(
            f"systemctl stop {self.unit}; systemctl reset-failed; rm -rf /etc/systemd/system/procwatch*.d;"
            " find /srv/procwatch -mindepth 2 -delete; rm -rf /var/lib/procwatch/*",
            check=False,
        )
        self.box.write(CONFIG, QUICK)
        self.drop_in("[Service]\nRestartSec=200ms\n")
        self.since_us = now_us()

    def drop_in(self, text: str, name: str = "test") -> None:
        self.box.write(f"/etc/systemd/system/{self.unit}.d/{name}.conf", text)
        self.box.run("systemctl daemon-reload")

    def start(self) -> None:
        """Start it and return when it is ready, as systemd sees it."""
        self.box.run(f"systemctl start --no-block {self.unit}")
        try:
            eventually(lambda: self.show("ActiveState") == "active", 25, 0.05)
        except AssertionError as error:
            error.add_note(self.story())
            raise

    def stop(self) -> None:
        self.box.run(f"systemctl stop {self.unit}")

    def show(self, name: str) -> str:
        return self.box.show(name, self.unit)

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        self.box.run(f"kill -{int(number)} {pid or self.pid}")

    # --- what it says ---

    def journal(self) -> list[str]:
        return self.box.journal(self.unit, self.since_us)

    def lines(self) -> list[logs.Line]:
        return logs.parse("".join(f"{line}\n" for line in self.journal() if line.startswith("{")))

    def wait_for(self, event: str, *, count: int = 1, timeout_s: float = 20.0, **fields: object) -> logs.Line:
        """Return the `count`-th line of this event with these values, as soon as the journal has it."""
        try:
            return eventually(
                lambda: logs.select(self.lines(), event, **fields)[count - 1 :], timeout_s, 0.1
            )[0]
        except AssertionError as error:
            error.add_note(f"waited for {count} times {event} {fields}\n{self.story()}")
            raise

    def story(self) -> str:
        status = self.box.run(f"systemctl status --no-pager -n0 {self.unit}", check=False).stdout
        return "\n".join([status, *self.journal()[-40:]])

    def judge(self) -> None:
        """Fail unless every line is in the catalogue and no line came twice, as in every other acceptance test."""
        lines = self.lines()
        found = [f"{problem} in {line}" for line in lines for problem in logs.problems(line)]
        assert not found, "\n".join(found)
        if not self.killed:
            assert "Traceback" not in "\n".join(self.journal()), self.story()

    # --- what people do ---

    def supply(self, files: Mapping[str, bytes], owner: str = "alice") -> str:
        """Put files where their owner can take them from, and return the folder as seen inside."""
        folder = self.box.srv / f"supply-{len(os.listdir(self.box.srv))}"
        for path, data in files.items():
            images.write(folder / path, data)
        inside = f"/srv/{folder.name}"
        self.box.run(f"chown -R {owner}:{owner} {inside} && chmod -R u=rwX,go=rX {inside}")
        return inside

    def drop(self, files: Mapping[str, bytes], *, user: str = "alice") -> None:
        """Copy files into the inbox as this user."""
        source = shlex.quote(self.supply(files, user))
        self.box.run(f"cp {source}/* /srv/procwatch/inbox/", user=user)

    def outputs(self) -> set[str]:
        return names(self.home / "outbox")

    def archived(self) -> set[str]:
        return names(self.home / "archive")


def now_us() -> int:
    """Return the time as the journal writes it; the box has this machine's clock."""
    return time.time_ns() // 1000


def names(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, but for those that are not published yet."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".procwatch-staging" not in path.parts
    }


def renditions(*paths: str) -> set[str]:
    """Return the outputs that opaque pictures of these names have."""
    return {f"{path.removesuffix('.jpg')}-{output}.jpg" for path in paths for output in ("web", "thumb")}
