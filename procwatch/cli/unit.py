"""procwatch unit: print, install or remove the systemd unit of a configuration."""

import argparse
import os
import re
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from procwatch.cli.shipped import shipped
from procwatch.errors import EXIT_OK, UsageError
from procwatch.settings.paths import one_line

if TYPE_CHECKING:
    from procwatch.settings.unit_plan import Installation, UnitPlan
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch unit --print                       the unit for /etc/procwatch/procwatch.toml, to look at
  sudo procwatch unit --install                user, folders, configuration and unit; then: systemctl enable --now procwatch
  sudo procwatch unit --install -c scans.toml  the same for folders of your own choice
  sudo procwatch unit --install --name scans   one more daemon: procwatch@scans runs /etc/procwatch/scans.toml
  sudo procwatch unit --uninstall              the unit goes; configuration, ledger and pictures stay

sudo may not find procwatch: give it the whole path, as in  sudo /opt/procwatch/bin/procwatch unit --install"""

_CONFIG_FOLDER = "/etc/procwatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, and for which configuration."""
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--print", action="store_true", help="write the unit to stdout, change nothing")
    action.add_argument("--install", action="store_true", help="make user, folders, configuration and unit")
    action.add_argument("--uninstall", action="store_true", help="stop and remove the unit; leave all data")
    parser.add_argument("--name", metavar="NAME", help="an instance: the unit procwatch@NAME")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="its configuration; default: /etc/procwatch/procwatch.toml, or /etc/procwatch/NAME.toml",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Print, install or uninstall. Raises UsageError or ConfigError before anything is changed."""
    name: str | None = args.name
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(
            f"{one_line(name)} is no name for an instance", hint="letters, digits, dot, dash and underscore"
        )
    if args.uninstall:
        from procwatch.cli import unit_install

        return unit_install.uninstall(name, ask=not args.yes)
    config = os.path.abspath(args.config or f"{_CONFIG_FOLDER}/{name or 'procwatch'}.toml")
    settings, new_config = settings_of_service(config, name, may_create=not args.config)
    from procwatch.settings.unit_file import render_unit
    from procwatch.settings.unit_plan import plan_unit

    installation = this_installation()
    plan = plan_unit(settings, installation, name, refuse=not args.print)
    if new_config is None and not _names_its_state(config, settings):
        hint = f'add to {one_line(config)}:  [state] dir = "{settings.state_dir}"  so that `procwatch status` finds it'
        plan = replace(plan, notes=(*plan.notes, hint))
    unit = render_unit(shipped("procwatch.service"), plan)
    if args.print:
        print(unit, end="")
        _warn(plan, config, new_config=new_config, alone=why_not_alone(installation))
        return EXIT_OK
    problem = why_not_alone(installation)
    if problem:
        raise UsageError(
            f"{one_line(installation.python)} cannot run procwatch for a service, without your folder and variables:"
            f" {problem}",
            hint="install it in a place of its own: python3 -m venv /opt/procwatch && /opt/procwatch/bin/pip install /path/to/its/checkout",
        )
    from procwatch.cli import unit_install

    return unit_install.install(plan, unit, settings, new_config=new_config, ask=not args.yes)


def _warn(plan: "UnitPlan", config: str, *, new_config: str | None, alone: str) -> None:
    notes = list(plan.notes)
    if new_config is not None:
        notes.append(f"{one_line(config)} does not exist; --install will make it")
    if alone:
        notes.append(
            f"{one_line(plan.command[0])} cannot import procwatch by itself ({alone}); --install will refuse"
        )
    for note in notes:
        print(f"procwatch: note: {note}", file=sys.stderr)


def settings_of_service(config: str, name: str | None, *, may_create: bool) -> "tuple[Settings, str | None]":
    """Return the settings as the service will see them, and the text of the file where it is still to be made."""
    from procwatch.settings.load import load
    from procwatch.settings.unit_file import service_config
    from procwatch.settings.unit_plan import STATE_HOME

    # What systemd sets for the service decides where "~" and a state folder that is not configured are.
    os.environ["HOME"] = STATE_HOME
    os.environ["STATE_DIRECTORY"] = f"{STATE_HOME}/{name}" if name else STATE_HOME
    if os.path.lexists(config) or not may_create:
        return load(config), None
    from procwatch.cli.init import annotated_default

    text = service_config(annotated_default().decode(), name)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        return replace(load(file.name), source=config), text


def _names_its_state(config: str, settings: "Settings") -> bool:
    """Whether the file says where the state is, and leaves it to nobody's environment."""
    from procwatch.settings.load import load

    given = os.environ["STATE_DIRECTORY"]
    os.environ["STATE_DIRECTORY"] = f"{given}/other"
    try:
        return load(config).state_dir == settings.state_dir
    finally:
        os.environ["STATE_DIRECTORY"] = given


def this_installation() -> "Installation":
    """Return the interpreter that runs this, and the folders that it and procwatch come from."""
    import procwatch
    from procwatch.settings.unit_plan import Installation

    package = os.path.dirname(os.path.dirname(os.path.abspath(procwatch.__file__)))
    places = [sys.prefix, sys.base_prefix]
    # A link may lead from one to the other, as uv and pyenv make them: both ends must be visible.
    places += [os.path.realpath(place) for place in places]
    inside = any(package.startswith(f"{place}/") for place in places)
    return Installation(
        python=os.path.abspath(sys.executable),
        code=tuple(dict.fromkeys([*places, *([] if inside else [package])])),
    )


def why_not_alone(installation: "Installation") -> str:
    """Return why the command of the unit cannot run procwatch without this user's environment and folder, "" if it can."""
    import subprocess

    command = [installation.python, "-I", "-c", "import procwatch.service"]
    ended = subprocess.run(command, cwd="/", capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode == 0:
        return ""
    said = ended.stderr.strip().splitlines()
    return one_line(said[-1]) if said else f"exit status {ended.returncode}"
