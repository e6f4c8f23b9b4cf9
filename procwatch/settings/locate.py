"""Say on which line of a TOML text each key stands, which tomllib does not tell."""

import tomllib

Path = tuple[str | int, ...]  # keys and zero-based positions in arrays

_BLANK = " \t"
_BLANK_OR_NEWLINE = " \t\r\n"
_END_OF_VALUE = "\r\n,]}#"


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key and array element. `text` must be valid TOML (tomllib read it)."""
    return _Walk(text).lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of `path`, or of the nearest thing around it that has one."""
    for length in range(len(path), 0, -1):
        if (line := lines.get(path[:length])) is not None:
            return line
    return None


class _Walk:
    """One pass over the text. It trusts the syntax, so it only has to know where keys and values end."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._position = 0
        self._counts: dict[Path, int] = {}
        table: Path = ()
        while self._skip(_BLANK_OR_NEWLINE):
            if self._text[self._position] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]`; in an array of tables the last element is meant."""
        is_array = self._text.startswith("[[", self._position)
        line = self._line()
        self._position += 2 if is_array else 1
        keys = self._key("]")
        self._position += 2 if is_array else 1
        path: Path = ()
        for depth, key in enumerate(keys, start=1):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if is_array and depth == len(keys):
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        self.lines[path] = line
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        keys = self._key("=")
        self._position += 1
        path = table
        for key in keys:
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._value(path)

    def _key(self, end: str) -> list[str]:
        """Read a dotted key up to `end`, which is left unread."""
        start = self._position
        while (character := self._text[self._position]) != end:
            if character in "\"'":
                self._string()
            else:
                self._position += 1
        return _decode_key(self._text[start : self._position])

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        character = self._text[self._position]
        if character in "\"'":
            self._string()
        elif character == "[":
            self._array(path)
        elif character == "{":
            self._inline_table(path)
        else:
            while self._position < len(self._text) and self._text[self._position] not in _END_OF_VALUE:
                self._position += 1

    def _array(self, path: Path) -> None:
        self._position += 1
        index = 0
        while self._skip(_BLANK_OR_NEWLINE) and self._text[self._position] != "]":
            self.lines[*path, index] = self._line()
            self._value((*path, index))
            index += 1
            self._skip(_BLANK_OR_NEWLINE + ",")
        self._position += 1

    def _inline_table(self, path: Path) -> None:
        self._position += 1
        while self._skip(_BLANK_OR_NEWLINE) and self._text[self._position] != "}":
            self._pair(path)
            self._skip(_BLANK_OR_NEWLINE + ",")
        self._position += 1

    def _string(self) -> None:
        quote = self._text[self._position]
        is_long = self._text.startswith(quote * 3, self._position)
        end = quote * 3 if is_long else quote
        self._position += len(end)
        while not self._text.startswith(end, self._position):
            escaped = quote == '"' and self._text[self._position] == "\\"
            self._position += 2 if escaped else 1
        self._position += len(end)
        if is_long:  # up to two quotes may stand right before the closing three
            while self._text.startswith(quote, self._position):
                self._position += 1

    def _skip(self, characters: str) -> bool:
        """Pass over `characters` and comments; return whether anything is left."""
        while self._position < len(self._text):
            if self._text[self._position] == "#":
                newline = self._text.find("\n", self._position)
                self._position = len(self._text) if newline < 0 else newline
            elif self._text[self._position] in characters:
                self._position += 1
            else:
                return True
        return False

    def _line(self) -> int:
        return self._text.count("\n", 0, self._position) + 1


def _decode_key(raw: str) -> list[str]:
    """Let tomllib read a dotted key with all its ways of quoting."""
    keys: list[str] = []
    inner = tomllib.loads(f"{raw} = 0")
    while isinstance(inner, dict):
        key, inner = next(iter(inner.items()))
        keys.append(key)
    return keys
