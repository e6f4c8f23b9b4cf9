"""What a worker can do once it is locked up: everything that rendering needs, and nothing of a long list."""

import dataclasses
import importlib.util
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing import forkserver
from multiprocessing.connection import arbitrary_address  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import pytest

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import Fingerprint, Limits, Rendered, RenderFailed, RenderResult, RenderTask
from procwatch.pool.ports import WorkerEntry
from procwatch.worker import entry, landlock, sandbox, seccomp
from tests.support import images, probes, tell_modules
from tests.support.corpus import listed
from tests.support.formats import all_formats, every_output
from tests.support.pool_bench import PoolBench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

WEB = BUILTIN_RECIPES["web"]
REFUSALS = {"EACCES", "EPERM", "EXDEV", "ENOSYS"}
#: (Landlock ABI, seccomp): what this and older kernels offer. 1 is Linux 5.13, 2 5.19, 3 6.2, 4 6.7, 5 6.10, 6 6.12.
KERNELS = [(6, True), (6, False), (5, False), (4, False), (3, True), (3, False), (2, True), (2, False), (1, True),
           (1, False), (0, True), (0, False)]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_forkserver() -> Iterator[None]:
    """What a worker may not read it must be born with, and a fork server that other tests started was not."""
    server: Any = vars(forkserver)["_forkserver"]
    server._stop()
    yield
    server._stop()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[probes.Places]:
    """A site with secrets beside it, and somebody listening on every kind of socket."""
    with ExitStack() as stack:

        def listen(family: int, address: object, kind: int = socket.SOCK_STREAM) -> socket.socket:
            server = stack.enter_context(socket.socket(family, kind))
            server.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                server.listen()
            return server

        def make(path: str) -> str:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"secret")
            return str(file)

        abstract = f"\0procwatch-test-{os.getpid()}-{tmp_path.name}"
        listen(socket.AF_UNIX, abstract)
        socket_file = _short(stack, tmp_path)
        listen(socket.AF_UNIX, socket_file)
        stand_in = arbitrary_address("AF_UNIX")
        listen(socket.AF_UNIX, stand_in)
        for name in ("spare", "moved", "cut"):
            make(f"inbox/{name}.jpg")
        make("outbox/.procwatch-staging/slot-1/spare")
        make("outbox/.procwatch-staging/slot-2/theirs")
        yield probes.Places(
            inbox=str(tmp_path / "inbox"),
            original=make("inbox/a.jpg"),
            ledger=make("state/ledger.sqlite"),
            archive=make("archive/old.jpg"),
            staging=str(tmp_path / "outbox/.procwatch-staging/slot-1"),
            other_slot=str(tmp_path / "outbox/.procwatch-staging/slot-2"),
            outside=str(tmp_path / "outbox"),
            daemon_pid=os.getpid(),
            tcp_port=listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1],
            udp_port=listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM).getsockname()[1],
            socket_file=socket_file,
            abstract=abstract,
            # One of the kind that the fork server has: its own would end of a caller that says nothing.
            forkserver=stand_in,
        )


def _short(stack: ExitStack, folder: Path) -> str:
    """Return a path for a socket in `folder` that fits into the 108 bytes of sun_path."""
    link = Path("/tmp") / f"procwatch-test-{os.getpid()}"
    link.symlink_to(folder)
    stack.callback(link.unlink)
    return str(link / "socket")


def plan(at: probes.Places, **limits: object) -> sandbox.Plan:
    whole = sandbox.Plan(mode="prefer", inboxes=(at.inbox,), staging=(os.path.dirname(at.staging),))
    return dataclasses.replace(whole, **limits)  # type: ignore[arg-type]


def worker(how: sandbox.Plan) -> WorkerEntry:
    return WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=probes.run,
        canary=entry.canary,
        start_args=((), how),
        preload=(*entry.PRELOAD, "tests.support.probes"),
    )


@pytest.mark.parametrize(("abi", "filtered"), KERNELS)
def test_every_attempt_ends_as_the_table_says(
    abi: int, filtered: bool, at: probes.Places, tmp_path: Path
) -> None:
    """Older kernels are this one, asked for less."""
    if landlock.kernel_abi() < abi or (filtered and not seccomp.is_available()):
        pytest.skip(f"this kernel has Landlock {landlock.kernel_abi()}, seccomp: {seccomp.is_available()}")
    with PoolBench(tmp_path, workers=1, entry=worker(plan(at, abi=abi, seccomp=filtered))) as bench:
        bench.ready()
        task = dataclasses.replace(bench.task("probe", 1), path=json.dumps(asdict(at)))
        running = bench.pool.submit(task)
        bench.until(running.done)
        result = running.result().result
    assert isinstance(result, Rendered), running.result()
    wrong = {}
    for name, probe in probes.PROBES.items():
        outcome = result.notes[name]
        if probe.is_denied(abi, seccomp=filtered):
            if outcome not in REFUSALS:
                wrong[name] = outcome
        elif probe.is_ours and outcome != "allowed":
            wrong[name] = outcome
    assert not wrong, wrong
    assert {result.notes[name] for name in probes.ALWAYS_DENIED} == {"EACCES"}


def test_all_enabled_formats_render_and_nothing_is_imported_any_more(tmp_path: Path) -> None:
    """Everything lazy in Pillow, its plug-ins and the standard library was imported before the lock."""
    pictures = tmp_path / "inbox"
    for name, data in all_formats().items():
        images.write(pictures / name, data)
    heic = importlib.util.find_spec("pi_heif") is not None  # the extra of that name
    for file in listed("formats") if heic else []:
        if file.suffix == ".heic":
            images.write(pictures / file.name, file.read_bytes())
    staging = tmp_path / "outbox/.procwatch-staging"
    (staging / "slot-1").mkdir(parents=True)
    recipe = every_output()
    how = sandbox.Plan(mode="require", inboxes=(str(pictures),), staging=(str(staging),))
    told = WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=tell_modules.run_telling_what_is_new,
        canary=entry.canary,
        start_args=((recipe,), how),
        preload=(*entry.PRELOAD, "tests.support.tell_modules"),
    )
    with PoolBench(tmp_path, workers=1, entry=told) as bench:
        bench.ready()
        for number, file in enumerate(sorted(pictures.iterdir())):
            task = RenderTask(
                job=str(number),
                attempt=1,
                root=str(pictures),
                path=file.name,
                fingerprint=Fingerprint.of(file.stat()),
                recipe=recipe,
                staging_root=str(staging),
                limits=Limits(),
                output_mode=0o646,  # no umask lets this through
            )
            running = bench.pool.submit(task)
            bench.until(running.done)
            result = running.result().result
            assert isinstance(result, Rendered), (file.name, running.result())
            assert result.notes == {}, f"{file.name} made the worker import {list(result.notes)}"
            made = list((staging / "slot-1").glob(f"{number}.1.*"))
            assert len(made) == len(recipe.outputs)
            assert {stat.S_IMODE(output.stat().st_mode) for output in made} == {0o646}


@pytest.mark.parametrize("change", ["inbox", "staging", "outbox"])
def test_a_folder_that_was_replaced_gets_new_workers_and_costs_nothing(change: str, tmp_path: Path) -> None:
    """Rules bind to inodes: the same path may be another folder."""
    pictures, staging = tmp_path / "inbox", tmp_path / "outbox/.procwatch-staging"
    pictures.mkdir()
    replaced = {"inbox": pictures, "staging": staging / "slot-1", "outbox": tmp_path / "outbox"}[change]

    def make_staging(slot: int) -> None:
        (staging / f"slot-{slot}").mkdir(parents=True, exist_ok=True)

    how = sandbox.Plan(mode="prefer", inboxes=(str(pictures),), staging=(str(staging),))
    renewable = WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=entry.run,
        canary=entry.canary,
        start_args=((WEB,), how),
        prepare=make_staging,
        preload=entry.PRELOAD,
    )

    def attempt(number: int) -> RenderResult | None:
        file = images.write(pictures / f"{number}.jpg", images.jpeg(number))
        running = bench.ready().pool.submit(
            RenderTask(
                job=str(number),
                attempt=1,
                root=str(pictures),
                path=file.name,
                fingerprint=Fingerprint.of(file.stat()),
                recipe=WEB,
                staging_root=str(staging),
                limits=Limits(),
            )
        )
        bench.until(running.done)
        return running.result().result

    with PoolBench(tmp_path, workers=2, entry=renewable) as bench:
        assert isinstance(attempt(1), Rendered)
        replaced.rename(tmp_path / "old")
        replaced.mkdir()
        stale = attempt(2)
        assert isinstance(stale, RenderFailed)
        assert stale.code == "sandbox-stale"
        assert str(pictures if change == "inbox" else staging) in stale.reason
        assert isinstance(attempt(3), Rendered)
        assert isinstance(attempt(4), Rendered)
        assert {reason for _, _, reason in bench.witness.recycled} == {
            "folders changed; the sandbox binds to the old ones"
        }
        assert len(bench.witness.recycled) == 2, "each worker once"


def test_without_a_sandbox_nothing_is_stale(tmp_path: Path) -> None:
    assert sandbox.stale(str(tmp_path), str(tmp_path / "nowhere"), 1) == ""
    assert sandbox.lock_up(sandbox.OFF, 1) == {}


def test_require_says_what_is_missing_and_does_not_run(tmp_path: Path) -> None:
    how = sandbox.Plan(mode="require", inboxes=(str(tmp_path),), staging=(), abi=0, seccomp=False)
    assert "files (Landlock)" in sandbox.missing(how)
    with pytest.raises(sandbox.SandboxError, match=r"require.*files \(Landlock\).*system calls"):
        sandbox.lock_up(how, 1)  # raises before it locks anything
    images.write(tmp_path / "still-writable", b"x")


@pytest.mark.parametrize(
    ("abi", "filtered", "missing"),
    [
        (6, True, []),
        (1, True, []),
        (0, True, ["files"]),
        (6, False, ["system calls"]),
        (4, False, ["system calls", "signals"]),
        (2, False, ["system calls", "signals", "TCP", "truncating"]),
        (0, False, ["files", "system calls", "signals", "TCP"]),
    ],
)
def test_what_is_missing_is_named(abi: int, filtered: bool, missing: list[str]) -> None:
    told = list(sandbox._missing(abi, filtered=filtered))
    assert [name for name, text in zip(missing, told, strict=True) if text.startswith(name)] == missing


def test_the_tables_of_system_calls_are_the_kernels_own() -> None:
    """<asm/unistd_64.h> of x86_64, where it is installed."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers (linux-libc-dev) of x86_64 are not here")
    numbers = {
        words[1].removeprefix("__NR_"): int(words[2])
        for words in map(str.split, header.read_text().splitlines())
        if len(words) == 3 and words[1].startswith("__NR_")
    }
    tables = seccomp.FORBIDDEN | seccomp.EXAMINED | seccomp.TRUNCATING
    known = {name: both[0] for name, both in tables.items() if name in numbers}
    assert known == {name: numbers[name] for name in known}
    assert set(tables) - set(numbers) <= {
        "fchmodat2",
        "setxattrat",
        "removexattrat",
        "file_setattr",
        "open_tree_attr",
    }


@pytest.mark.parametrize("column", [0, 1])
def test_no_jump_of_the_filter_leaves_it(column: int) -> None:
    """The kernel refuses a bad program, but only of the machine that runs the test."""
    code = seccomp.program(0xC000003E, column, 4711, against_truncation=True)
    assert len(code) <= 4096
    for position, (operation, if_true, if_false, _) in enumerate(code):
        if operation & 0x07 == 0x05:
            assert position + 1 + max(if_true, if_false) < len(code)
            assert max(if_true, if_false) < 256
    assert code[-1] == (0x06, 0, 0, 0x7FFF0000)
