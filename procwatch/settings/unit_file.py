"""Write a systemd unit and its tmpfiles.d snippet from a plan: the shipped files with the paths put in."""

import os
import re
from collections.abc import Iterable
from typing import Final

from procwatch.errors import UsageError
from procwatch.settings.paths import one_line
from procwatch.settings.unit_plan import UnitPlan, inbox_folders, lies_in
from procwatch.settings.values import Settings

#: The first words of every unit that we write; a unit without them is somebody else's and is left alone.
MARK: Final = "# Made by `procwatch unit"
#: Whose members may drop files; the service's user is one. Not its own group, which may change results as well.
DROP_GROUP: Final = "procwatch-drop"
#: Where folders are made at each boot. Elsewhere a folder that is missing is more likely a mount that is not there.
SERVICE_HOME: Final = "/srv/procwatch"
_HEADING: Final = f"""{MARK}`, which will overwrite it: make changes by `systemctl edit {{name}}`.
"""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@+=.,/:-]+")


def render_unit(shipped: str, plan: UnitPlan) -> str:
    """Return the unit file. `shipped` is systemd/procwatch.service."""
    body = shipped[shipped.index("\n[Unit]") :]
    homes = bool(plan.home_writable or plan.home_readable)
    values = {
        "RequiresMountsFor": [" ".join(map(quoted_path, plan.mounts))],
        "ExecStart": [" ".join(map(quoted_argument, plan.command))],
        "TimeoutStopSec": [str(plan.stop_timeout_s)],
        "StateDirectory": [plan.state_directory],
        "ReadWritePaths": [quoted_path(f"-{folder}") for folder in plan.writable],
        "ProtectHome": ["tmpfs" if homes else "yes"],
    }
    if plan.instance:
        values["Description"] = [f"procwatch {plan.instance}, processes images dropped into folders"]
    for key, lines in values.items():
        body = _replace(body, key, lines)
    if homes:
        binds = [f"BindPaths={_quoted_bind(f'-{folder}')}" for folder in plan.home_writable]
        binds += [f"BindReadOnlyPaths={_quoted_bind(folder)}" for folder in plan.home_readable]
        body = body.replace(
            "ProtectHome=tmpfs\n", "\n".join(["ProtectHome=tmpfs", "# All that is there:", *binds, ""])
        )
    return _HEADING.format(name=plan.name) + body


def _replace(text: str, key: str, values: list[str]) -> str:
    """Put other values in the place of the one that a directive has."""
    found = re.findall(rf"(?m)^{key}=.*\n", text)
    assert len(found) == 1, f"{key}= must stand in the shipped unit once"
    return text.replace(found[0], "".join(f"{key}={value}\n" for value in values))


def quoted_path(path: str) -> str:
    """Return a path as a unit file takes it (systemd.syntax(7), and % of systemd.unit(5)). Raises UsageError."""
    if not path.isprintable() or not _is_utf8(path):
        raise UsageError(
            f"a unit file cannot name {one_line(path)}",
            hint="rename it to something without control characters",
        )
    text = path.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quoted_argument(argument: str) -> str:
    """Return a word of a command line, where systemd would also expand $NAME (systemd.service(5))."""
    return quoted_path(argument).replace("$", "$$")


def _quoted_bind(path: str) -> str:
    """Return a source of BindPaths=, where a colon would begin the destination."""
    if ":" in path:
        raise UsageError(
            f"systemd cannot bind {one_line(path.removeprefix('-'))}: there is a colon in its name",
            hint="rename it",
        )
    return quoted_path(path)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def render_tmpfiles(settings: Settings) -> str:
    """Return tmpfiles.d lines for the folders below /srv/procwatch, "" when there are none.

    The colons: rights are given to a folder that is made, never to one that is there (tmpfiles.d(5), systemd 251).
    """
    inboxes = [inbox.path for inbox in settings.inboxes]
    folders = [folder for folder in inbox_folders(settings) if lies_in(folder, (SERVICE_HOME,))]
    if not folders:
        return ""
    lines = [f"d {quoted_path(folder)} :0755 :root :root - -" for folder in _above(folders)]
    for folder in folders:
        owner, group = ("root", DROP_GROUP) if folder in inboxes else ("procwatch", "procwatch")
        lines.append(f"d {quoted_path(folder)} :2775 :{owner} :{group} - -")
    lines += [f"a+ {quoted_path(folder)} - - - - {DEFAULT_ACL}" for folder in folders if folder in inboxes]
    return "\n".join([f"{MARK} --install`, see tmpfiles.d(5).", *lines, ""])


#: Folders that others make in an inbox are writable for the group where their tool leaves that open, whatever the umask.
DEFAULT_ACL: Final = (
    "default:user::rwx,default:group::rwx,default:group:procwatch:rwx,default:mask::rwx,default:other::r-x"
)


def _above(folders: Iterable[str]) -> list[str]:
    """Return the folders above these, from /srv/procwatch down, each once."""
    above: set[str] = set()
    for folder in folders:
        parent = os.path.dirname(folder)
        while lies_in(parent, (SERVICE_HOME,)):
            above.add(parent)
            parent = os.path.dirname(parent)
    return sorted(above - set(folders))


def service_config(annotated: str, instance: str | None) -> str:
    """Return the configuration of a new service: the annotated default, with the system's folders."""
    home = f"{SERVICE_HOME}/{instance}" if instance else SERVICE_HOME
    changes = {
        'path = "inbox"': f'path = "{home}/inbox"',
        # Written out, so that `procwatch status` finds it for everyone: $STATE_DIRECTORY is for the service alone.
        'dir = ".procwatch"': f'dir = "/var/lib/procwatch{f"/{instance}" if instance else ""}"',
        'file = ".procwatch/procwatch.log"': f'#file = "/var/log/procwatch/{instance or "procwatch"}.log"',
    }
    for before, after in changes.items():
        assert annotated.count(f"\n{before}\n") == 1, before
        annotated = annotated.replace(f"\n{before}\n", f"\n{after}\n")
    _, rest = annotated.split("\n\n", 1)  # the first paragraph tells of `procwatch run DIR`
    return f"{_CONFIG_HEADING}\n\n{rest}"


_CONFIG_HEADING: Final = """# procwatch configuration of the service. Every key is here; one that is commented out shows its default.
# After a change:  procwatch check -c THIS_FILE
# and, when a folder changed, once more:  procwatch unit --install -c THIS_FILE
# Paths may be relative to the folder of this file.
# Times are written "500ms", "2s", "5m", "1h30m"; sizes "800 KB", "512 MiB", "2 GiB"."""
