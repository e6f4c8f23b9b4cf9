"""What `pause` and `resume` share: a folder and an inbox on the command line, and a request to the daemon."""

import argparse
import os
from typing import Any

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_NO_INBOX, ProcwatchError, UsageError
from procwatch.observe.console import safe_text


class NotRunningError(ProcwatchError):
    """There is no daemon to ask."""

    exit_code = EXIT_NO_INBOX


def add_inbox_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -c, -d, and [DIR] [INBOX] by position."""
    add_target_arguments(parser, positional=False)
    parser.add_argument(
        "words",
        metavar="[DIR] [INBOX]",
        nargs="*",
        help="a folder, as -d, and the name of one inbox; default: all",
    )


def ask_about_inbox(args: argparse.Namespace, command: str) -> list[str]:
    """Send the command about the named inbox, or about all; return the inboxes that it changed."""
    folder, inbox = split_words(args.words)
    args.dir = folder
    settings = settings_for(args)
    request: dict[str, Any] = {"command": command}
    if inbox is not None:
        request["inbox"] = inbox
    return [safe_text(str(name)) for name in ask_daemon(settings.state_dir, request)["inboxes"]]


def ask_daemon(state_dir: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer. Raises NotRunningError, ControlError."""
    from procwatch.control.protocol import ask

    answer = ask(state_dir, request)
    if answer is None:
        raise NotRunningError(
            f"no procwatch is running that uses {safe_text(state_dir)}",
            hint=f"start it: {_start_command(state_dir)}",
        )
    return answer


def _start_command(state_dir: str) -> str:
    """Return how a daemon with this state folder is started, as far as that can be told from it."""
    import shlex

    from procwatch.settings.load import STATE_NAME

    folder, name = os.path.split(state_dir)
    return (
        f"procwatch run {safe_text(shlex.quote(folder))}" if name == STATE_NAME else "procwatch run -c FILE"
    )


def split_words(words: list[str]) -> tuple[str | None, str | None]:
    """Tell a folder from the name of an inbox: a folder has a slash in its name, or a site in it."""
    folders = [word for word in words if _is_site(word)]
    names = [word for word in words if word not in folders]
    if len(folders) > 1 or len(names) > 1:
        raise UsageError("too many arguments", hint="give at most one folder and the name of one inbox")
    return (folders[0] if folders else None), (names[0] if names else None)


def _is_site(word: str) -> bool:
    from procwatch.settings.load import CONFIG_NAME, STATE_NAME

    if "/" in word or word in (".", ".."):
        return True
    return any(os.path.exists(os.path.join(word, name)) for name in (STATE_NAME, CONFIG_NAME))
