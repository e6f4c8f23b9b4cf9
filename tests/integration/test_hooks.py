"""Hooks: real commands, which may fail, hang or flood."""

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from procwatch.dispatch.hooks import HookCommands, Hooks, run_hook
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

LINE = {
    "job": "j1",
    "inbox": "in",
    "path": "a b;$(x).jpg",
    "outputs": ["a-web.jpg", "a-thumb.jpg"],
    "bytes_in": 7,
}


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def test_a_command_gets_its_argv_unchanged_the_environment_and_one_line_of_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import os,sys,json; json.dump([sys.argv[1:], dict(os.environ), sys.stdin.read()], open(sys.argv[1], 'w'))"
    assert run_hook("done", python(code, str(out), "$HOME; rm -rf *"), LINE, 20) is None
    argv, environ, stdin = json.loads(out.read_text())
    assert argv[1] == "$HOME; rm -rf *"
    assert environ["PROCWATCH_HOOK"] == "done"
    assert environ["PROCWATCH_PATH"] == LINE["path"]
    assert environ["PROCWATCH_OUTPUTS"] == "a-web.jpg\na-thumb.jpg"
    assert json.loads(stdin)["job"] == "j1"


def test_a_failure_says_the_exit_status_and_the_last_words() -> None:
    problem = run_hook("done", python("import sys; sys.exit('no such printer')"), LINE, 20)
    assert problem is not None
    assert problem[1] == "exit 1"
    assert "no such printer" in problem[0]


def test_a_command_that_is_not_there_is_a_failure() -> None:
    problem = run_hook("done", ("/no/such/command",), LINE, 20)
    assert problem is not None
    assert "No such file" in problem[0]


def test_a_hanging_hook_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']);"
        "open(sys.argv[1],'w').write(str(p.pid)); time.sleep(60)"
    )
    began_s = time.monotonic()
    problem = run_hook("done", python(code, str(pid_file)), LINE, 1.0)
    assert problem is not None
    assert "longer than 1 s" in problem[0]
    assert time.monotonic() - began_s < 20
    child = Path(f"/proc/{pid_file.read_text()}")
    eventually(lambda: not child.exists() or "Z (zombie)" in (child / "status").read_text())


def test_what_left_the_session_of_a_hook_does_not_keep_it() -> None:
    """It holds the hook's stderr open, and nobody waits for that."""
    code = "import subprocess,time; subprocess.Popen(['setsid', 'sleep', '20']); time.sleep(60)"
    began_s = time.monotonic()
    problem = run_hook("done", python(code), LINE, 1.0)
    assert problem is not None
    assert "longer than 1 s" in problem[0]
    assert time.monotonic() - began_s < 10


def test_a_signal_without_a_name_has_its_number() -> None:
    problem = run_hook("done", python("import os; os.kill(os.getpid(), 35)"), LINE, 10.0)
    assert problem is not None
    assert problem[1] in {"signal 35", "SIGRTMIN+1"}


def test_hooks_never_block_and_each_failure_is_told() -> None:
    told: list[tuple[str, str]] = []
    lock = threading.Lock()

    def fail(hook: str, reason: str, exit_text: str | None, fields: Mapping[str, Any]) -> None:
        with lock:
            told.append((hook, reason))

    hooks = Hooks(HookCommands(done=("/bin/sleep", "60"), failed=("/bin/false",), timeout_s=0.2), fail=fail)
    began_s = time.monotonic()
    for _ in range(1500):
        hooks.ended("job.done", LINE, {})
    assert time.monotonic() - began_s < 5.0
    eventually(lambda: any("wait already" in reason for _, reason in told))
    hooks.close()
    for thread in hooks._threads:
        thread.join(10)
        assert not thread.is_alive()


def test_no_command_no_thread() -> None:
    hooks = Hooks(HookCommands(), fail=lambda *_: None)
    hooks.ended("job.done", LINE, {})
    assert not hooks._threads
