"""Tell from its trailer whether an image file is whole.

Only JPEG and PNG can say so. The size fields of RIFF (WebP) and ISO-BMFF (AVIF, HEIC) are true before the data is
there, a half GIF may end in its trailer byte, TIFF and BMP have none. The answer is a hint that counts only together
with a close: zeros followed by an end marker, as a preallocating writer may leave them, pass as well.
"""

import os
from typing import Final

_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_HEAD_BYTES: Final = len(_PNG_START)
_TAIL_BYTES: Final = len(_PNG_END)


def is_complete(fd: int, size: int) -> bool:
    """Return whether the open file of `size` bytes ends as its format demands. Raises OSError."""
    if size < _HEAD_BYTES + _TAIL_BYTES:
        return False
    head = os.pread(fd, _HEAD_BYTES, 0)
    if head.startswith(_JPEG_START):
        return os.pread(fd, len(_JPEG_END), size - len(_JPEG_END)) == _JPEG_END
    return head == _PNG_START and os.pread(fd, _TAIL_BYTES, size - _TAIL_BYTES) == _PNG_END
