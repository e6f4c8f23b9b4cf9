"""Metrics and hooks of the running daemon."""

import json
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

pytestmark = pytest.mark.acceptance

CONFIG = """
[[inbox]]
path = "inbox"
settle = "100ms"
[state]
dir = "state"
[hooks]
done = [{python}, "-c", "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())", {out}]
failed = [{python}, "-c", "import sys; sys.exit('printer on fire')"]
drained = [{python}, "-c", "import os, sys; open(sys.argv[1], 'a').write(os.environ['PROCWATCH_INBOX'])", {drained}]
[metrics]
listen = "127.0.0.1:{port}"
"""


def configure(root: Path, port: int) -> Path:
    (root / "inbox").mkdir()
    (root / "outside").mkdir()
    config = root / "procwatch.toml"
    config.write_text(
        CONFIG.format(
            python=json.dumps(sys.executable),
            out=json.dumps(str(root / "done.jsonl")),
            drained=json.dumps(str(root / "drained")),
            port=port,
        )
    )
    return config


def test_hooks_run_and_a_failing_one_is_told_and_metrics_can_be_scraped(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = configure(tmp_path, port)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.move_in(tmp_path / "inbox" / "a.jpg", images.jpeg(1), outside=tmp_path / "outside")
        images.move_in(tmp_path / "inbox" / "b.jpg", b"<html>", outside=tmp_path / "outside")
        daemon.wait_for_ends(2)
        told = daemon.wait_for("hook.failed", hook="failed")
        assert "printer on fire" in told["reason"]
        done = eventually(
            lambda: (tmp_path / "done.jsonl").exists() and (tmp_path / "done.jsonl").read_text()
        )
        assert isinstance(done, str)
        line = json.loads(done)
        assert (line["path"], line["outbox_folder"]) == ("a.jpg", str(tmp_path / "outbox"))
        eventually(lambda: (tmp_path / "drained").exists() and (tmp_path / "drained").read_text() == "inbox")
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert 'procwatch_files_total{inbox="inbox",outcome="done"} 1' in text
        assert 'procwatch_errors_total{error="not-an-image",inbox="inbox"} 1' in text
    final = (tmp_path / "state" / "metrics.prom").read_text()
    assert 'procwatch_files_total{inbox="inbox",outcome="failed"} 1' in final


def test_a_port_that_is_taken_is_told_and_files_are_processed(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra metrics is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = configure(tmp_path, taken.getsockname()[1])
        with Daemon("-c", config, cwd=tmp_path) as daemon:
            daemon.wait_for("metrics.unavailable")
            images.move_in(tmp_path / "inbox" / "a.jpg", images.jpeg(1), outside=tmp_path / "outside")
            daemon.wait_for_ends(1)
