"""Configuration files as they lie on a disk: the ones that ship, broken ones, and which one a command line means."""

import dataclasses
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from procwatch.errors import ConfigError, UsageError
from procwatch.settings import load as loading
from procwatch.settings.load import load, resolve, zero_config
from procwatch.settings.schema import (
    ConfigTable,
    InboxTable,
    LimitsTable,
    LogTable,
    OutputTable,
    PoolTable,
    RecipeTable,
    StateTable,
)
from procwatch.settings.show import to_toml
from procwatch.settings.values import Settings

if TYPE_CHECKING:
    from pydantic import BaseModel

pytestmark = pytest.mark.integration

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted((CONFIG / "examples").glob("*.toml"))


def without_source(settings: Settings) -> Settings:
    return dataclasses.replace(settings, source=None)


def uncommented(text: str) -> str:
    """Return the annotated default with every setting that is shown as a comment made active."""
    return re.sub(r"^#(?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)


def test_the_annotated_default_means_the_same_as_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "procwatch.toml").write_bytes((CONFIG / "procwatch.toml").read_bytes())
    assert without_source(load(str(tmp_path / "procwatch.toml"))) == zero_config(str(tmp_path))


def test_every_default_that_the_annotated_file_shows_in_a_comment_is_the_true_one(tmp_path: Path) -> None:
    (tmp_path / "procwatch.toml").write_text(uncommented((CONFIG / "procwatch.toml").read_text()))
    assert without_source(load(str(tmp_path / "procwatch.toml"))) == zero_config(str(tmp_path))


def test_the_annotated_file_and_the_manual_leave_no_key_out() -> None:
    data = tomllib.loads(uncommented((CONFIG / "procwatch.toml").read_text()))
    manual = (CONFIG / "README.md").read_text()
    recipe = data["recipe"]["web"]
    shown: list[tuple[type[BaseModel], dict[str, Any]]] = [
        (ConfigTable, data),
        (InboxTable, data["inbox"][0]),
        (RecipeTable, recipe),
        (OutputTable, recipe["output"]["web"]),
        *((table, data[name]) for name, table in (("pool", PoolTable), ("limits", LimitsTable))),
        *((table, data[name]) for name, table in (("state", StateTable), ("log", LogTable))),
    ]
    for table, values in shown:
        assert set(values) == set(table.model_fields), table.__name__
        assert [key for key in table.model_fields if f"`{key}`" not in manual] == [], table.__name__


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_loads_and_reads_back_from_what_check_prints(example: Path, tmp_path: Path) -> None:
    settings = load(str(example))
    assert settings.inboxes
    assert {inbox.recipe for inbox in settings.inboxes} <= set(settings.recipes)
    (tmp_path / "again.toml").write_text(to_toml(settings))
    assert without_source(load(str(tmp_path / "again.toml"))) == without_source(settings)


def test_there_are_the_two_examples() -> None:
    assert [path.stem for path in EXAMPLES] == ["scans", "web-gallery"]


def test_every_toml_block_of_the_manual_is_a_configuration_or_a_part_of_one(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", (CONFIG / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        inbox = "" if "[[inbox]]" in block else '\n[[inbox]]\npath = "in"\n'
        file = tmp_path / f"{number}.toml"
        file.write_text(block + inbox)
        load(str(file))


def test_zero_config_reads_back_from_what_check_prints(tmp_path: Path) -> None:
    settings = zero_config(str(tmp_path / 'a "strange"\\ näme\n'))
    (tmp_path / "again.toml").write_text(to_toml(settings))
    assert without_source(load(str(tmp_path / "again.toml"))) == settings


def test_everything_that_can_be_set_arrives(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        """
        stop_timeout = "1m"
        [[inbox]]
        name = "shoots"
        path = "~/in"
        outbox = "/srv/out"
        recipe = "r"
        recursive = false
        on_success = "keep"
        on_conflict = "fail"
        settle = "1m30s"
        incomplete_after = "0s"
        rescan = "5m"
        include = ["*.jpg"]
        ignore = ["x*"]
        observer = "polling"
        output_mode = 0o640
        dir_mode = 0o750
        [recipe.r]
        formats = ["JPEG"]
        resampler = "pillow"
        [recipe.r.output.o]
        steps = [{ op = "fill", width = 10, height = 20, gravity = "top" }]
        format = "webp"
        quality = 7
        options = { lossless = true }
        template = "{recipe}/{stem}.{ext}"
        [pool]
        workers = 3
        timeout = "500ms"
        recycle_after = 7
        max_rss_growth = 5000
        [limits]
        max_pixels = 1
        max_bytes = "1 MB"
        max_frames = 2
        [state]
        dir = "s"
        [log]
        file = "l/x.log"
        format = "json"
        level = "debug"
        """
    )
    settings = load(str(tmp_path / "c.toml"))
    home = str(Path.home())
    (inbox,) = settings.inboxes
    assert (inbox.path, inbox.outbox, inbox.archive) == (f"{home}/in", "/srv/out", f"{home}/archive")
    assert (inbox.settle_s, inbox.incomplete_after_s, inbox.rescan_s) == (90.0, 0.0, 300.0)
    assert (inbox.on_success, inbox.on_conflict, inbox.observer) == ("keep", "fail", "polling")
    assert (inbox.output_mode, inbox.dir_mode, inbox.recursive) == (0o640, 0o750, False)
    assert (inbox.include, inbox.ignore, inbox.recipe) == (("*.jpg",), ("x*",), "r")
    recipe = settings.recipes["r"]
    assert (recipe.formats, recipe.resampler, len(recipe.outputs)) == (("JPEG",), "pillow", 1)
    (output,) = recipe.outputs
    assert output.steps[0].op == "fill"
    assert output.steps[0].params == (("width", 10), ("height", 20), ("gravity", "top"))
    assert (output.format, output.quality, output.options) == ("webp", 7, (("lossless", True),))
    assert output.template == "{recipe}/{stem}.{ext}"
    assert "web" in settings.recipes
    assert (settings.pool.workers, settings.pool.timeout_s, settings.limits.timeout_s) == (3, 0.5, 0.5)
    assert (settings.pool.recycle_after_jobs, settings.pool.max_rss_growth_bytes) == (7, 5000)
    assert (settings.limits.max_pixels, settings.limits.max_bytes, settings.limits.max_frames) == (
        1,
        10**6,
        2,
    )
    assert (settings.state_dir, settings.stop_timeout_s) == (str(tmp_path / "s"), 60.0)
    assert settings.log.file == str(tmp_path / "l" / "x.log")
    assert (settings.log.format, settings.log.level) == ("json", "debug")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[[inbox]\npath = 1\n", ":1:"),
        (
            b'[[inbox]]\npath = "x"\noutput_mode = 0664\n',
            ":3:16: TOML writes octal numbers as 0o664, not 0664",
        ),
        (b'[[inbox]]\npath = "x', ":2:10: "),
        (b'[[inbox]]\npath = "x"\npath = "y"\n', ":3:11: Cannot overwrite a value"),
        (b'[[inbox]]\npath = "\xff"\n', "is not UTF-8 text (byte 18)"),
    ],
)
def test_what_is_no_toml_is_refused_with_the_place(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value).startswith(str(file))
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_file_saved_by_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b'\xef\xbb\xbf[[inbox]]\r\npath = "x"\r\nsettle = 3\r\n')
    with pytest.raises(ConfigError, match=r"c\.toml:3: inbox#1\.settle: "):
        load(str(tmp_path / "c.toml"))


@pytest.mark.parametrize("name", ["missing.toml", "folder"])
def test_a_file_that_cannot_be_read_is_a_configuration_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=f"{name}: cannot be read: "):
        load(str(tmp_path / name))


def test_a_symbolic_link_into_an_inbox_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outbox").symlink_to("in")
    (tmp_path / "c.toml").write_text('[[inbox]]\npath = "in"\n')
    with pytest.raises(ConfigError, match=r"inbox#1\.outbox: .*lies inside the watched folder"):
        load(str(tmp_path / "c.toml"))


def test_a_folder_with_its_own_file_uses_it(tmp_path: Path) -> None:
    assert resolve(None, str(tmp_path)).source is None
    (tmp_path / "procwatch.toml").write_text('[[inbox]]\npath = "elsewhere"\n')
    settings = resolve(None, str(tmp_path))
    assert settings.source == str(tmp_path / "procwatch.toml")
    assert settings.inboxes[0].path == str(tmp_path / "elsewhere")


def test_without_a_target_the_current_folder_s_file_comes_before_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr(loading, "SYSTEM_CONFIG", str(system))
    with pytest.raises(UsageError, match="no folder was given"):
        resolve(None, None)
    system.write_text('[[inbox]]\npath = "system"\n')
    assert resolve(None, None).inboxes[0].name == "system"
    (tmp_path / "procwatch.toml").write_text('[[inbox]]\npath = "own"\n')
    assert resolve(None, None).inboxes[0].name == "own"


def test_the_shipped_files_are_plain_readable_files() -> None:
    for file in [CONFIG / "procwatch.toml", *EXAMPLES]:
        assert stat.S_ISREG(file.lstat().st_mode)
        assert file.read_text(encoding="utf-8").endswith("\n")
