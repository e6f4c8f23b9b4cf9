"""What people type: find the command, import only its module, and turn every error into one clear line."""

import argparse
import importlib
import os
import sys
from typing import Final, NamedTuple

from procwatch import __version__
from procwatch.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ProcwatchError

_EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, what a shell shows for any program whose reader left


class Command(NamedTuple):
    """A row of the table. The module has `add_arguments(parser)`, `run(args) -> int` and the text EXAMPLES."""

    module: str
    summary: str
    example: str


#: Every command; adding one is one line here and one module. `--help` is printed from this table alone.
COMMANDS: Final[dict[str, Command]] = {
    "run": Command("procwatch.cli.run", "watch the inboxes until stopped", "procwatch run ~/pictures"),
    "once": Command("procwatch.cli.once", "process what is there, then end", "procwatch once ~/pictures"),
    "status": Command(
        "procwatch.cli.status", "show what a daemon does right now", "procwatch status --watch"
    ),
    "logs": Command("procwatch.cli.logs", "read and follow the log", "procwatch logs -f --failed"),
    "explain": Command(
        "procwatch.cli.explain", "say why a file is not done, or how it ended", "procwatch explain a.jpg"
    ),
    "audit": Command(
        "procwatch.cli.audit", "compare the folders with the ledger", "procwatch audit ~/pictures"
    ),
    "retry": Command(
        "procwatch.cli.retry", "put failed files through the inbox again", "procwatch retry --error timeout"
    ),
    "rebuild": Command(
        "procwatch.cli.rebuild", "render kept originals with today's recipe", "procwatch rebuild --stale"
    ),
    "pause": Command("procwatch.cli.pause", "start no new jobs until resumed", "procwatch pause ~/pictures"),
    "resume": Command("procwatch.cli.resume", "start jobs again", "procwatch resume ~/pictures"),
    "check": Command(
        "procwatch.cli.check", "validate and show the configuration", "procwatch check -c my.toml"
    ),
    "bench": Command("procwatch.cli.bench", "find out how many workers to set", "procwatch bench ~/photos"),
    "init": Command("procwatch.cli.init", "write an annotated procwatch.toml", "procwatch init ~/pictures"),
    "unit": Command(
        "procwatch.cli.unit", "install or print the systemd unit", "procwatch unit --print -c my.toml"
    ),
}


def main(argv: list[str]) -> int:
    """Run one command line and return its exit code; never a traceback for a foreseen error."""
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except ProcwatchError as error:
        return _report(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads stdout any more; without this the interpreter complains once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _EXIT_BROKEN_PIPE


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text(), end="", file=sys.stdout if argv else sys.stderr)
        return EXIT_OK if argv else EXIT_USAGE
    if argv[0] in ("-V", "--version"):
        print(f"procwatch {__version__}")
        return EXIT_OK
    name = argv[0]
    if name not in COMMANDS:
        return _unknown(name)
    module = importlib.import_module(COMMANDS[name].module)
    parser = argparse.ArgumentParser(
        prog=f"procwatch {name}",
        description=COMMANDS[name].summary,
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.set_defaults(command=name)
    try:
        args = parser.parse_args(argv[1:])
    except SystemExit as left:  # argparse has printed the help, or what is wrong
        return int(left.code or EXIT_OK)
    return int(module.run(args))


def help_text() -> str:
    """Return what `procwatch --help` prints: each command with one example."""
    width = max(map(len, COMMANDS))
    summaries = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    examples = [f"  {command.example}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "usage: procwatch COMMAND [options]",
            "",
            "Watch folders and run every image that is dropped there through a recipe.",
            "",
            "commands:",
            *summaries,
            "",
            "examples:",
            *examples,
            "",
            "options:",
            "  -h, --help     show this, or the help of a command: procwatch run --help",
            "  -V, --version  show the version",
            "",
        ]
    )


def _unknown(name: str) -> int:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    guess = f' Did you mean "{near[0]}"?' if near else ""
    what = "option" if name.startswith("-") else "command"
    print(f"procwatch: there is no {what} {name!a}.{guess}", file=sys.stderr)
    print(f"  commands: {', '.join(COMMANDS)}; options come after the command", file=sys.stderr)
    return EXIT_USAGE


def _report(error: ProcwatchError) -> int:
    print(f"procwatch: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return error.exit_code
