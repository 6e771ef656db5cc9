"""Pieces of output → lines of text."""

import codecs

LONGEST_LINE = 8 * 1024  # bytes; the rest of a longer one is cut off


_DECODER = codecs.getincrementaldecoder("utf-8")


class Lines:
    """Of one stream. Nothing of it is an error: what is no UTF-8 is spelled out."""

    def __init__(self) -> None:
        self._held = b""
        self._cut = 0  # bytes that the line had no room for

    @property
    def has_begun(self) -> bool:
        """Whether there is a line without an end."""
        return bool(self._held)

    def feed(self, piece: bytes) -> list[str]:
        """The lines that this ends."""
        *ends, rest = piece.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            lines.append(self.take())
        self._add(rest)
        return lines

    def take(self) -> str:
        """The line as far as it has come."""
        line, cut = self._held.removesuffix(b"\r"), self._cut
        self._held, self._cut = b"", 0
        if not cut:
            return line.decode(errors="backslashreplace")
        decoder = _DECODER("backslashreplace")
        text = decoder.decode(line)
        cut += len(decoder.getstate()[0])  # of a character that was cut in two
        return f"{text} […{cut} more bytes were cut off]"

    def _add(self, piece: bytes) -> None:
        if b"\r" in piece or self._held.endswith(b"\r"):
            # A terminal would write over what came before: so do bars that draw themselves. The
            # last one may belong to the line's end.
            whole = self._held + piece
            start = whole.rfind(b"\r", 0, len(whole) - 1) + 1
            if start:
                self._held, self._cut, piece = b"", 0, whole[start:]
        room = LONGEST_LINE - len(self._held)
        self._held += piece[:room]
        self._cut += max(0, len(piece) - room)
