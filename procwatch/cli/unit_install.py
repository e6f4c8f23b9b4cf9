"""Put a systemd unit in place, with the user, the folders and the configuration that it needs; or take it away."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from procwatch.cli.shipped import shipped
from procwatch.errors import EXIT_OK, ProcwatchError, UsageError
from procwatch.settings.paths import one_line
from procwatch.settings.unit_file import DROP_GROUP, MARK, SERVICE_HOME, render_tmpfiles
from procwatch.settings.unit_plan import LOG_HOME, STATE_HOME, inbox_folders, lies_in

if TYPE_CHECKING:
    from procwatch.settings.unit_plan import UnitPlan
    from procwatch.settings.values import Settings

UNITS: Final = "/etc/systemd/system"
SYSUSERS: Final = "/etc/sysusers.d/procwatch.conf"
USER: Final = "procwatch"
_OURS: Final = r"procwatch(@.*)?\.service"


class Step(NamedTuple):
    """One thing to do, told before it is done."""

    what: str
    do: Callable[[], None]


def install(plan: "UnitPlan", unit: str, settings: "Settings", *, new_config: str | None, ask: bool) -> int:
    """Tell, ask, do, and name the next command. Running it again brings everything up to date."""
    _require_systemd("--install")
    path = _own_unit(plan.name)
    steps = _steps(plan, unit, settings, path, new_config)
    for note in plan.notes:
        print(f"note: {note}")
    _agree([step.what for step in steps], ask=ask)
    for step in steps:
        step.do()
    for reason in _troubles(plan, settings):
        print(f"note: {reason}")
    running = _succeeds("systemctl", "is-active", "--quiet", plan.name)
    short = plan.name.removesuffix(".service")
    print(f"\nnext:  systemctl {'restart' if running else 'enable --now'} {short}")
    print(f"       journalctl -fu {short} -o cat")
    for inbox in settings.inboxes:
        print(f"drop:  {one_line(inbox.path)}   (people who may: usermod -aG {DROP_GROUP} NAME)")
    return EXIT_OK


def uninstall(name: str | None, *, ask: bool) -> int:
    """Stop and remove a unit that we made; leave everything that is yours."""
    _require_systemd("--uninstall")
    unit = f"procwatch@{name}.service" if name else "procwatch.service"
    path = _own_unit(unit)
    if not os.path.lexists(path):
        raise UsageError(f"{path} does not exist: there is nothing to remove")
    snippet = _tmpfiles_path(name)
    others = [other for other in os.listdir(UNITS) if re.fullmatch(_OURS, other) and other != unit]
    files = [path, *([] if others else [SYSUSERS]), snippet]
    files = [file for file in files if os.path.lexists(file)]
    _agree([f"stop and disable {unit}", *(f"remove {file}" for file in files)], ask=ask)
    _must("systemctl", "disable", "--now", unit)
    for file in files:
        os.unlink(file)
    _must("systemctl", "daemon-reload")
    print("\nleft as they are: /etc/procwatch, /var/lib/procwatch, every inbox and what came of it,")
    print(f"                  the user {USER}, the group {DROP_GROUP}, and drop-ins of `systemctl edit`")
    return EXIT_OK


def _steps(
    plan: "UnitPlan", unit: str, settings: "Settings", path: str, new_config: str | None
) -> list[Step]:
    assert settings.source is not None
    config = settings.source
    steps = [
        Step(f"write {SYSUSERS}, and make the user {USER} and the group {DROP_GROUP} from it", _make_user)
    ]
    if new_config is not None:
        text = new_config
        steps.append(Step(f"write {one_line(config)}", lambda: _write(config, text)))
    snippet, lines = _tmpfiles_path(plan.instance), render_tmpfiles(settings)
    if lines:
        steps.append(
            Step(
                f"write {snippet}, and make folders below {SERVICE_HOME} from it",
                lambda: _make(snippet, lines),
            )
        )
    inboxes = {inbox.path for inbox in settings.inboxes}
    for folder in inbox_folders(settings):
        if not lies_in(folder, (SERVICE_HOME,)) and not os.path.lexists(folder):
            owner, group = ("root", DROP_GROUP) if folder in inboxes else (USER, USER)
            steps.append(_folder_step(folder, owner, group, 0o2775))
    log_folder = [os.path.dirname(settings.log.file)] if settings.log.file else []
    steps += [
        _folder_step(folder, USER, USER, 0o755)
        for folder in dict.fromkeys((settings.state_dir, *log_folder))
        if not lies_in(folder, (STATE_HOME, LOG_HOME)) and not os.path.lexists(folder)
    ]
    verb = "replace" if os.path.lexists(path) else "write"
    steps.append(Step(f"{verb} {path}", lambda: _write(path, unit)))
    steps.append(Step("systemctl daemon-reload", lambda: _must("systemctl", "daemon-reload")))
    return steps


def _folder_step(folder: str, owner: str, group: str, mode: int) -> Step:
    def make() -> None:
        try:
            os.makedirs(folder, exist_ok=True)
            shutil.chown(folder, owner, group)
            os.chmod(folder, mode)  # after chown, which takes setgid away
        except OSError as error:
            raise UsageError(f"cannot make {one_line(folder)}: {error.strerror}") from error

    return Step(f"make {one_line(folder)} for {owner}:{group}, mode {mode:o}", make)


def _make_user() -> None:
    _write(SYSUSERS, shipped("sysusers.d/procwatch.conf"))
    _must("systemd-sysusers", SYSUSERS)


def _make(snippet: str, lines: str) -> None:
    _write(snippet, lines)
    # A file system without ACLs makes it complain though every folder is there; what is missing is told afterwards.
    subprocess.run(["systemd-tmpfiles", "--create", snippet], stdin=subprocess.DEVNULL, check=False)


def _tmpfiles_path(name: str | None) -> str:
    return f"/etc/tmpfiles.d/procwatch{f'@{name}' if name else ''}.conf"


def _own_unit(unit: str) -> str:
    """Return the path of a unit; UsageError when the file there was not made by us."""
    path = f"{UNITS}/{unit}"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            ours = file.read().startswith(MARK)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not ours:
        raise UsageError(
            f"{path} was not made by `procwatch unit`, and is left alone", hint="move it away, then try again"
        )
    return path


def _troubles(plan: "UnitPlan", settings: "Settings") -> list[str]:
    """Return what the service's user cannot use, with the fix."""
    assert settings.source is not None
    told = []
    if not _as_service(lambda: os.access(settings.source or "", os.R_OK, effective_ids=True)):
        told.append(
            f"{USER} cannot read {one_line(settings.source)}: chmod o+r it, and o+x the folders above"
        )
    for folder in inbox_folders(settings):
        if _as_service(lambda folder=folder: _usable(folder)):  # type: ignore[misc]
            continue
        if not os.path.isdir(folder):
            told.append(f"{one_line(folder)} is missing: mount what belongs there, or make it")
        elif lies_in(folder, plan.home_writable):
            # The folders above are made new for the service, so their rights do not count, and this test cannot tell.
            told.append(f"make sure of it: setfacl -R -m u:{USER}:rwX -m d:u:{USER}:rwX {one_line(folder)}")
        else:
            told.append(f"{USER} cannot write {one_line(folder)}: setfacl -m u:{USER}:rwx {one_line(folder)}")
    return told


def _usable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)


def _as_service(probe: Callable[[], bool]) -> bool:
    """Return what `probe` finds as the service's user, with its groups."""
    user = pwd.getpwnam(USER)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.initgroups(USER, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            code = 0 if probe() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _write(path: str, text: str) -> None:
    """Replace a file as a whole; everybody may read it."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        staged = f"{path}.procwatch-tmp"
        with open(staged, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.replace(staged, path)
    except OSError as error:
        raise UsageError(f"cannot write {one_line(path)}: {error.strerror}") from error


def _require_systemd(option: str) -> None:
    if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        raise UsageError("systemd does not run this machine", hint="procwatch run works under any supervisor")
    if os.geteuid() != 0:
        again = f"the same by: sudo {one_line(sys.executable)} -m procwatch unit {option} …"
        raise UsageError(f"{option} needs root", hint=again)


def _agree(what: list[str], *, ask: bool) -> None:
    """Tell what will be done and wait for a yes."""
    print("this will:" if ask else "doing:")
    for line in what:
        print(f"  - {line}", flush=True)
    if not ask:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", hint="add --yes")
    if input("go on? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was changed")


def _must(*command: str) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ProcwatchError(f"{' '.join(command)} failed: {error}") from error


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
