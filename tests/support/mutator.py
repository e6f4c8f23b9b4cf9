"""A seeded mutator of pictures: the same number gives the same mutant, on every machine.

Besides plain damage it does what keeps a file deceptive: sizes and offsets become extreme values, blocks move, two
files are spliced, and the checksums of PNG are put right again, so that the damage gets past them.
"""

import random
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: Boundaries of signed and unsigned 8, 16 and 32 bits, and sizes of pictures beyond every limit.
_EXTREMES: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 65_500, 0x7FFFFFFF, 0x80000000,
                    0xFFFFFFFF)  # fmt: skip
_HEADER_BYTES: Final = 64  # where the sizes are
_MAX_BLOCK: Final = 64

Mutation = Callable[[random.Random, bytearray, bytes], bytearray]


def mutant(number: int, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return the name of the picture that it comes from, and the damaged bytes."""
    chance = random.Random(number)
    names = sorted(seeds)
    name = names[number % len(names)]  # each as often as any other
    data = bytearray(seeds[name])
    other = seeds[chance.choice(names)]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6, 20))):
        data = chance.choice(_MUTATIONS)(chance, data, other) or data
    if chance.random() < 0.5:
        data = repair_png(data)
    return name, bytes(data)


def _place(chance: random.Random, data: bytearray) -> int:
    """Return where to hit: half of all in the header."""
    end = min(len(data), _HEADER_BYTES) if chance.random() < 0.5 else len(data)
    return chance.randrange(max(1, end))


def flip(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    if data:
        data[_place(chance, data)] ^= 1 << chance.randrange(8)
    return data


def overwrite(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    at = _place(chance, data)
    length = chance.randrange(1, 9)
    data[at : at + length] = chance.randbytes(length)
    return data


def extreme(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Put an extreme number there, in either byte order."""
    width, code = chance.choice(((1, "B"), (2, "H"), (4, "I")))
    at = _place(chance, data)
    value = chance.choice(_EXTREMES) & ((1 << (8 * width)) - 1)
    data[at : at + width] = struct.pack(chance.choice("<>") + code, value)
    return data


def nudge(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Change a number by a little: off by one is where decoders break."""
    at = _place(chance, data)
    if at + 2 <= len(data):
        order = chance.choice("<>")
        (value,) = struct.unpack_from(order + "H", data, at)
        struct.pack_into(order + "H", data, at, (value + chance.choice((-2, -1, 1, 2))) & 0xFFFF)
    return data


def cut(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def remove(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    at = _place(chance, data)
    del data[at : at + chance.randrange(1, _MAX_BLOCK)]
    return data


def insert(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    at = _place(chance, data)
    data[at:at] = chance.randbytes(chance.randrange(1, _MAX_BLOCK))
    return data


def repeat(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Say a block several times: chunks, segments and frames that come twice."""
    at, length = _place(chance, data), chance.randrange(1, 4 * _MAX_BLOCK)
    data[at:at] = data[at : at + length] * chance.randrange(1, 5)
    return data


def blank(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Leave a hole of zeros, as a file has that is not all there yet."""
    at, length = _place(chance, data), chance.randrange(1, 4 * _MAX_BLOCK)
    data[at : at + length] = bytes(len(data[at : at + length]))
    return data


def splice(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """Go on with another file, often of another format."""
    return data[: _place(chance, data)] + other[chance.randrange(len(other) + 1) :]


def move(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    at, to = _place(chance, data), _place(chance, data)
    length = chance.randrange(1, _MAX_BLOCK)
    block = data[at : at + length]
    del data[at : at + length]
    data[to:to] = block
    return data


_MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip, flip, overwrite, extreme, extreme, nudge, nudge, cut, remove, insert, repeat, blank, splice, move,
)  # fmt: skip


def repair_png(data: bytearray) -> bytearray:
    """Return the bytes with right checksums, as far as the chunks can be followed; other files as they are."""
    if not data.startswith(_PNG):
        return data
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return data
