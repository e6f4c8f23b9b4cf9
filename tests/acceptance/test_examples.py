"""The configurations that ship with procwatch work as they are."""

import re
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import REPOSITORY, procwatch
from tests.support.oracle import digest, files_below

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

SHIPPED = sorted((REPOSITORY / "config").glob("**/*.toml"))


def folders(config: Path) -> dict[str, list[Path]]:
    """Return what the file itself says of its folders, relative ones as relative to the file."""
    import tomllib

    tables = tomllib.loads(config.read_text())["inbox"]
    keys = ("path", "outbox", "archive", "failed")
    return {key: [config.parent / table[key] for table in tables if key in table] for key in keys}


def private_copy(config: Path, home: Path) -> Path:
    """Copy a configuration and move its absolute folders below `home`; relative ones lie there anyway."""
    text = re.sub(
        r'^(\s*(?:path|outbox|archive|failed|dir|file)\s*=\s*")/',
        rf"\1{home}/",
        config.read_text(),
        flags=re.MULTILINE,
    )
    copy = home / config.name
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_configuration_is_valid_and_runs(config: Path, tmp_path: Path) -> None:
    copy = private_copy(config, tmp_path)
    for inbox in folders(copy)["path"]:
        inbox.mkdir(parents=True, exist_ok=True)
    env = {"STATE_DIRECTORY": str(tmp_path / "state")}
    checked = procwatch("check", "-c", copy, cwd=tmp_path, env=env)
    assert checked.returncode == 0, checked
    dropped = []
    for number, inbox in enumerate(folders(copy)["path"]):
        data = images.noisy_jpeg(number, (2400, 1600))
        images.write(inbox / f"drop-{number}.jpg", data)
        dropped.append(digest(data))
    ended = procwatch("once", "-c", copy, cwd=tmp_path, env=env)
    assert ended.returncode == 0, ended
    made = [file for file in files_below(tmp_path) if file.name.startswith("drop-")]
    contents = {digest(file.read_bytes()) for file in made}
    assert len(contents - set(dropped)) >= len(dropped), f"every inbox has at least one output: {made}"
    for inbox in folders(copy)["path"]:
        assert not files_below(inbox)


def test_there_are_two_real_examples_and_an_annotated_default() -> None:
    names = [path.relative_to(REPOSITORY / "config").as_posix() for path in SHIPPED]
    assert "procwatch.toml" in names
    assert len([name for name in names if name.startswith("examples/")]) >= 2


def test_what_init_writes_runs_as_it_is(tmp_path: Path) -> None:
    """Once with `init`, and then `run DIR` and `once DIR` take the file that lies there."""
    home = tmp_path / "new"
    ended = procwatch("init", home, cwd=tmp_path)
    assert ended.returncode == 0, ended
    config = home / "procwatch.toml"
    before = config.read_text()
    assert before.count("\n#") > 20, "annotated"
    for inbox in folders(config)["path"]:
        images.write(inbox / "a.jpg", images.jpeg(1))
    ended = procwatch("once", home, cwd=tmp_path)
    assert ended.returncode == 0, ended
    assert [file.name for file in files_below(home / "outbox")] == ["a-thumb.jpg", "a-web.jpg"]
    again = procwatch("init", home, cwd=tmp_path)
    assert again.returncode != 0
    assert config.read_text() == before, "a configuration is never overwritten"
