"""What the lanes say and ask about an original in its inbox."""

import errno
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from procwatch.fdopen import open_source


def inbox_away(path: str) -> OSError:
    """Return the error for a file that is missing because the whole inbox is (unmounted, renamed): it may be back."""
    return OSError(errno.ESTALE, "the inbox is not there", path)


def file_digest(root: str, path: str) -> str | None:
    """Return the sha256 of a file of the inbox in hex, None when it cannot be read."""
    try:
        with open(open_source(root, path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def error_report(line: Mapping[str, Any]) -> bytes:
    """Return the content of an error file."""
    return (json.dumps(line, indent=2) + "\n").encode("ascii")
