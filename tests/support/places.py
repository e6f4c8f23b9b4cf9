"""The folders around one inbox, and configuration files that point to them."""

from dataclasses import dataclass
from pathlib import Path

from tests.support import logs


@dataclass(frozen=True, kw_only=True)
class Places:
    """What `procwatch run DIR` makes and uses."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def failed(self) -> Path:
        return self.root / "failed"

    @property
    def log_file(self) -> Path:
        return self.root / ".procwatch" / "procwatch.log"

    def log(self) -> list[logs.Line]:
        """Return the JSON lines of the log file."""
        return logs.read(self.log_file)

    def make(self) -> "Places":
        """Make the inbox, for tests that drop files before the program runs."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        return self

    def write_config(self, *, inbox: str = "", pool: str = "", rest: str = "", level: str = "debug") -> Path:
        """Write a configuration with short waits for this inbox and return its path.

        `inbox`, `pool` and `rest` are lines of TOML for the inbox, for the pool, and for anything else.
        """
        self.make()
        defaults = {"settle": '"100ms"', "incomplete_after": '"1s"', "rescan": '"2s"', "recipe": '"web"'}
        short = "\n".join(f"{key} = {value}" for key, value in defaults.items() if f"{key} =" not in inbox)
        path = self.root / "procwatch.toml"
        path.write_text(
            f"""{rest}
[state]
dir = "{self.root / ".procwatch"}"

[log]
level = "{level}"

[pool]
{pool}

[[inbox]]
path = "{self.inbox}"
outbox = "{self.outbox}"
archive = "{self.archive}"
failed = "{self.failed}"
{short}
{inbox}
"""
        )
        return path
