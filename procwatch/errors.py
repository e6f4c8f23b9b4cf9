"""The exceptions that cross rooms and the stable error codes of failed files."""

from typing import Final

EXIT_OK: Final = 0
EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIG: Final = 3
EXIT_NO_INBOX: Final = 4
EXIT_ALREADY_RUNNING: Final = 5
EXIT_INTERRUPTED: Final = 130

#: code → what it means for the person who dropped the file. Codes are stable: logs and error files carry them.
ERROR_CODES: Final[dict[str, str]] = {
    "truncated": "the file ends before the picture does",
    "not-an-image": "the content is not of any image format",
    "unsupported-format": "an image format that procwatch does not read",
    "format-not-enabled": "an image format that needs an optional extra or must be enabled in the configuration",
    "too-many-pixels": "more pixels than the limit allows",
    "too-many-frames": "more frames or pages than the limit allows",
    "too-large": "more bytes than the limit allows",
    "timeout": "rendering took longer than the timeout; the worker was stopped",
    "worker-crashed": "the worker process died while it handled this file",
    "out-of-memory": "rendering needed more memory than a worker may use",
    "over-memory-budget": "rendering would need more memory than the whole pool may use",
    "not-readable": "procwatch is not allowed to read the file",
    "name-conflict": "an output name is taken by another file and on_conflict is set to fail",
    "internal-error": "a defect of procwatch, or workers gave the file back 20 times; please report it with the reason",
}


class ProcwatchError(Exception):
    """Base of every error that a person should see as one clear line, without a traceback."""

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(ProcwatchError):
    """The command line cannot be followed."""

    exit_code = EXIT_USAGE


class ConfigError(ProcwatchError):
    """The configuration cannot be used; the message lists every mistake, one a line."""

    exit_code = EXIT_CONFIG


class NoInboxError(ProcwatchError):
    """No inbox can be watched."""

    exit_code = EXIT_NO_INBOX


class AlreadyRunningError(ProcwatchError):
    """Another daemon holds an inbox of ours."""

    exit_code = EXIT_ALREADY_RUNNING


class ImageError(ProcwatchError):
    """One file cannot be rendered. `code` is a key of ERROR_CODES."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        assert code in ERROR_CODES, code
        self.code = code
