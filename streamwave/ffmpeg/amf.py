"""A parser for AMF0 (Action Message Format 0, Adobe 2007) that refuses malformed or deeply nested messages."""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

#: Nesting depth of objects and arrays; publishers need two levels.
MAX_DEPTH = 16
#: Values in one message. The index of a long FLV file, which some publishers send, has a few thousand.
MAX_VALUES = 20_000

Value: TypeAlias = "float | bool | bytes | None | list[Value] | dict[bytes, Value]"

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _REFERENCE = 0, 1, 2, 3, 5, 6, 7
_ECMA_ARRAY, _OBJECT_END, _STRICT_ARRAY, _DATE, _LONG_STRING, _UNSUPPORTED = 8, 9, 10, 11, 12, 13
_XML, _TYPED_OBJECT, _AVMPLUS = 15, 16, 17


class AmfError(ValueError):
    """The data is not AMF0 or exceeds a limit; the text says which."""


class _Opaque(Exception):
    """The rest is AMF3. nginx-rtmp, which only knows AMF0, stops reading there too."""


def read_values(data: bytes, start: int = 0) -> list[Value]:
    """The values in a message body, from offset ``start``.

    An object without an end marker at the end of the message is accepted, as in nginx-rtmp, because some encoders send those.
    Everything after a switch to AMF3 (marker 0x11) is ignored.

    Raises:
        AmfError: it is malformed, nested deeper than ``MAX_DEPTH``, or has more than ``MAX_VALUES`` values.
    """
    reader = _Reader(data, start)
    values: list[Value] = []
    try:
        while reader.at < len(data):
            values.append(reader.value(0))
    except _Opaque:
        pass
    except (struct.error, IndexError):
        raise AmfError("AMF that ends in the middle of a value") from None
    return values


class _Reader:
    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at, self.left = data, start, MAX_VALUES

    def value(self, depth: int) -> Value:
        self.left -= 1
        if self.left < 0:
            raise AmfError(f"AMF of more than {MAX_VALUES} values")
        marker = self.data[self.at]
        self.at += 1
        if marker == _NUMBER:
            return float(self._number(">d", 8))
        if marker == _BOOLEAN:
            return bool(self._number(">B", 1))
        if marker == _STRING:
            return self._bytes(self._number(">H", 2))
        if marker in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if marker in (_LONG_STRING, _XML):
            return self._bytes(self._number(">I", 4))
        if marker == _DATE:
            milliseconds = float(self._number(">d", 8))
            self._number(">h", 2)
            return milliseconds
        if marker == _REFERENCE:
            self._number(">H", 2)
            return None
        if marker == _AVMPLUS:
            raise _Opaque
        return self._composed(marker, depth + 1)

    def _composed(self, marker: int, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise AmfError(f"AMF nested more than {MAX_DEPTH} deep")
        if marker == _STRICT_ARRAY:
            count = self._number(">I", 4)
            if count > self.left:
                raise AmfError(f"AMF of more than {MAX_VALUES} values")
            return [self.value(depth) for _ in range(count)]
        if marker == _ECMA_ARRAY:
            self._number(">I", 4)  # the element count, which encoders often get wrong
        elif marker == _TYPED_OBJECT:
            self._bytes(self._number(">H", 2))
        elif marker != _OBJECT:
            raise AmfError(f"AMF with the unknown marker {marker}")
        return self._members(depth)

    def _members(self, depth: int) -> dict[bytes, Value]:
        found: dict[bytes, Value] = {}
        while len(self.data) - self.at >= 2:
            name = self._bytes(self._number(">H", 2))
            if not name:
                if self._number(">B", 1) != _OBJECT_END:
                    raise AmfError("an AMF object without its end marker")
                return found
            found[name] = self.value(depth)
        self.at = len(self.data)
        return found

    def _number(self, form: str, size: int) -> Any:
        (number,) = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return number

    def _bytes(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise AmfError("AMF that ends in the middle of a value")
        self.at += length
        return self.data[self.at - length : self.at]
