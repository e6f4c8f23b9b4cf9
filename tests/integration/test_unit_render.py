"""What `procwatch unit` writes for a configuration and an installation, judged by systemd where it has a say."""

import dataclasses
import re
from pathlib import Path

import pytest

from procwatch.cli import main as cli
from procwatch.cli import unit as unit_command
from procwatch.cli.init import annotated_default
from procwatch.cli.shipped import shipped
from procwatch.cli.unit import settings_of_service
from procwatch.errors import UsageError
from procwatch.settings.load import load
from procwatch.settings.unit_file import quoted_path, render_tmpfiles, render_unit, service_config
from procwatch.settings.unit_plan import Installation, UnitPlan, plan_unit
from tests.support import units

pytestmark = pytest.mark.integration

OPT = Installation(python="/opt/procwatch/bin/python", code=("/opt/procwatch", "/usr"))


@pytest.fixture(autouse=True)
def environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets what the service will have."""
    monkeypatch.setenv("HOME", "/var/lib/procwatch")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/procwatch")


def plan(
    tmp_path: Path,
    text: str,
    installation: Installation = OPT,
    *,
    config: str = "/etc/procwatch/procwatch.toml",
) -> UnitPlan:
    """Plan the unit of a configuration that is said to lie in `config`."""
    file = tmp_path / "some.toml"
    file.write_text(text)
    return plan_unit(dataclasses.replace(load(str(file)), source=config), installation, None)


def rendered(plan: UnitPlan) -> list[str]:
    return units.directives(render_unit(shipped("procwatch.service"), plan))


def inbox(path: str, **others: str) -> str:
    return "\n".join(
        ["[[inbox]]", f'path = "{path}"', *(f'{key} = "{value}"' for key, value in others.items()), ""]
    )


def test_the_default_configuration_renders_to_the_shipped_unit(tmp_path: Path) -> None:
    """So whoever reads the shipped file reads what will be installed."""
    text = service_config(annotated_default().decode(), None)
    assert set(rendered(plan(tmp_path, text))) ^ set(
        units.directives((units.SYSTEMD / "procwatch.service").read_text())
    ) == {"RequiresMountsFor=/srv/procwatch /opt/procwatch", "RequiresMountsFor=/srv/procwatch"}


def test_the_default_configuration_s_folders_are_those_of_the_shipped_snippet() -> None:
    settings, new = settings_of_service("/nowhere/procwatch.toml", None, may_create=True)
    assert new is not None
    shipped_lines = [
        re.sub(" +", " ", line)
        for line in units.directives((units.SYSTEMD / "tmpfiles.d/procwatch.conf").read_text())
        if "/srv/" in line
    ]
    assert units.directives(render_tmpfiles(settings)) == shipped_lines


@pytest.mark.parametrize("text", ["", '[state]\ndir = "/data/state"\n'])
def test_a_state_that_only_the_service_would_find_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without [state] it is $STATE_DIRECTORY, which a person's `procwatch status` does not have."""
    monkeypatch.setattr(unit_command, "this_installation", lambda: OPT)
    monkeypatch.setattr(unit_command, "why_not_alone", lambda installation: "")
    monkeypatch.setattr("procwatch.settings.unit_plan.PRIVATE", ())  # where the tests' own files may be
    file = tmp_path / "p.toml"
    file.write_text(inbox("/srv/a/in") + text)
    assert cli.main(["unit", "--print", "--name", "scans", "-c", str(file)]) == 0
    assert ('[state] dir = "/var/lib/procwatch/scans"' in capsys.readouterr().err) == (not text)


def test_an_instance_has_folders_and_a_state_of_its_own() -> None:
    settings, new = settings_of_service("/nowhere/scans.toml", "scans", may_create=True)
    assert new is not None
    assert settings.inboxes[0].path == "/srv/procwatch/scans/inbox"
    assert settings.state_dir == "/var/lib/procwatch/scans"
    lines = rendered(plan_unit(settings, OPT, "scans"))
    assert "StateDirectory=procwatch/scans" in lines
    assert "ReadWritePaths=-/srv/procwatch/scans" in lines
    made = render_tmpfiles(settings).splitlines()
    assert "d /srv/procwatch/scans :0755 :root :root - -" in made
    assert "d /srv/procwatch/scans/inbox :2775 :root :procwatch-drop - -" in made
    assert "d /srv/procwatch/scans/outbox :2775 :procwatch :procwatch - -" in made


@pytest.mark.parametrize(
    ("text", "writable"),
    [
        (inbox("/data/pictures/in"), ["/data/pictures"]),
        (inbox("/data/in"), ["/data/in", "/data/outbox", "/data/archive", "/data/failed"]),
        (inbox("/srv/a/in") + inbox("/srv/b/in", name="b"), ["/srv/a", "/srv/b"]),
        (
            inbox("/srv/a/in", outbox="/www/photos"),
            ["/srv/a/in", "/www/photos", "/srv/a/archive", "/srv/a/failed"],
        ),
        (inbox("/srv/a/in") + '[state]\ndir = "/data/state"\n', ["/srv/a", "/data/state"]),
        (inbox("/srv/a/in") + '[log]\nfile = "/var/log/procwatch/a.log"\n', ["/srv/a"]),
        (inbox("/srv/a/in") + '[log]\nfile = "/logs/p/a.log"\n', ["/srv/a", "/logs/p"]),
        (inbox("~/in"), ["/var/lib/procwatch"]),  # the home of the service, not of who installs it
    ],
)
def test_only_what_the_configuration_needs_is_writable(
    text: str, writable: list[str], tmp_path: Path
) -> None:
    assert list(plan(tmp_path, text).writable) == writable


def test_a_home_is_seen_only_where_the_configuration_says(tmp_path: Path) -> None:
    lines = rendered(plan(tmp_path, inbox("/home/alice/pictures/in")))
    assert "ProtectHome=tmpfs" in lines
    assert "BindPaths=-/home/alice/pictures" in lines
    assert not any(line.startswith("ReadWritePaths") for line in lines)
    assert "RequiresMountsFor=/home/alice/pictures /opt/procwatch" in lines


def test_a_whole_home_is_never_made_writable(tmp_path: Path) -> None:
    made = plan(tmp_path, inbox("/home/alice/in"))
    assert made.home_writable[0] == "/home/alice/in"
    assert "/home/alice" not in made.home_writable
    assert any("copied" in note for note in made.notes)


def test_an_interpreter_below_home_is_made_visible_with_all_that_it_needs(tmp_path: Path) -> None:
    """pipx: the venv; pyenv and uv: the interpreter that the venv was made from as well."""
    own = Installation(
        python="/home/alice/.local/pipx/venvs/procwatch/bin/python",
        code=("/home/alice/.local/pipx/venvs/procwatch", "/home/alice/.pyenv/versions/3.13.1"),
    )
    lines = rendered(plan(tmp_path, inbox("/srv/a/in"), own))
    assert "ProtectHome=tmpfs" in lines
    assert {f"BindReadOnlyPaths={path}" for path in own.code} <= set(lines)
    assert "ReadWritePaths=-/srv/a" in lines


@pytest.mark.parametrize(
    ("text", "installation", "config", "says"),
    [
        (inbox("/tmp/in"), OPT, "/etc/procwatch/p.toml", "name one elsewhere"),
        (inbox("/srv/a/in"), OPT, "/home/alice/p.toml", "move it to /etc/procwatch"),
        (inbox("/srv/a/in"), OPT, "/tmp/p.toml", "move it to /etc/procwatch"),
        (
            inbox("/srv/a/in"),
            Installation(python="/tmp/v/bin/python", code=("/tmp/v", "/usr")),
            "/etc/p.toml",
            "install procwatch elsewhere",
        ),
    ],
)
def test_what_the_service_could_never_see_is_refused_with_the_way_out(
    text: str, installation: Installation, config: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as raised:
        plan(tmp_path, text, installation, config=config)
    assert says in raised.value.hint


def test_a_configuration_in_a_folder_that_is_bound_anyway_may_stay_there(tmp_path: Path) -> None:
    made = plan(tmp_path, inbox("/home/alice/pictures/in"), config="/home/alice/pictures/procwatch.toml")
    assert made.command[-1] == "/home/alice/pictures/procwatch.toml"


@pytest.mark.parametrize(
    "folder", ["two words", "100%", 'quo"te', "back\\slash", "dollar$HOME", "süß", "a;b", "it's"]
)
def test_odd_names_reach_systemd_whole(folder: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` reads the unit as systemd does and complains about what it cannot read."""
    path = f"/srv/{folder}/in".replace("\\", "\\\\").replace('"', '\\"')
    made = plan(tmp_path, inbox(path), config=f"/srv/{folder}/p.toml")
    unit = tmp_path / "procwatch.service"
    text = render_unit(shipped("procwatch.service"), made)
    unit.write_text(text.replace("ExecStart=/opt/procwatch/bin/python", "ExecStart=/bin/true"))
    assert units.analyze("verify", unit) == ""
    shown = re.search(r"(?m)^ReadWritePaths=(.*)$", text)
    assert shown
    assert systemd_words(shown[1]) == [f"-/srv/{folder}"]


def systemd_words(value: str) -> list[str]:
    """Split a value as systemd.syntax(7) says, for the few kinds of quoting that are used here."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', value)
    plain = [re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] == '"' else word for word in words]
    return [word.replace("%%", "%") for word in plain]


@pytest.mark.parametrize("path", ["/srv/a\nb", "/srv/\udcff", "/srv/\x1b[2J"])
def test_a_name_that_no_unit_file_can_hold_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        quoted_path(path)


@pytest.mark.parametrize("path", ["/srv/a/in", "/home/alice/pictures/in"])
def test_a_rendered_unit_is_as_closed_as_the_shipped_one(path: str, tmp_path: Path) -> None:
    text = render_unit(shipped("procwatch.service"), plan(tmp_path, inbox(path)))
    unit = tmp_path / "procwatch.service"
    unit.write_text(text.replace("ExecStart=/opt/procwatch/bin/python", "ExecStart=/bin/true"))
    assert units.analyze("verify", unit) == ""
    assert units.exposure(unit) <= 0.2


def test_systemd_waits_longer_than_the_daemon_does(tmp_path: Path) -> None:
    assert "TimeoutStopSec=145" in rendered(plan(tmp_path, 'stop_timeout = "2m"\n' + inbox("/srv/a/in")))


@pytest.mark.parametrize(
    ("code", "said"),
    [("exit 0", ""), ("echo Traceback >&2; echo ImportError: libjpeg >&2; exit 1", "ImportError: libjpeg")],
)
def test_why_a_service_could_not_run_this_installation_is_python_s_own_word(
    code: str, said: str, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{code}\n")
    python.chmod(0o755)
    assert unit_command.why_not_alone(Installation(python=str(python), code=())) == said


def test_print_writes_the_unit_alone_to_stdout_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unit_command, "this_installation", lambda: OPT)
    monkeypatch.setattr(unit_command, "why_not_alone", lambda installation: "No module named procwatch")
    monkeypatch.setattr(unit_command, "_CONFIG_FOLDER", "/nowhere")
    assert cli.main(["unit", "--print"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("# Made by `procwatch unit`")
    assert "run -c /nowhere/procwatch.toml" in shown.out
    assert "does not exist; --install will make it" in shown.err
    assert "cannot import procwatch by itself" in shown.err


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["unit"], 2),
        (["unit", "--print", "--install"], 2),
        (["unit", "--print", "--name", "../etc"], 2),
        (["unit", "--print", "-c", "/nowhere/none.toml"], 3),
    ],
)
def test_wrong_command_lines_change_nothing(argv: list[str], code: int) -> None:
    assert cli.main(argv) == code
