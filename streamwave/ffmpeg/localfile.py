"""Files as sources: opened once, verified to be the checked file, and passed to libavformat as a stream of bytes.

libavformat itself may then open nothing, so no playlist, reference or file list inside a file can lead to other files.
"""

from __future__ import annotations

import os
import re
import stat

from streamwave.errors import SourceError
from streamwave.sources.address import local_path, shown

#: A common file name extension.
_EXTENSION = re.compile(r"\.[A-Za-z0-9_]{1,16}\Z")


class LocalFile:
    """A seekable file object for reading. ``name`` carries only the extension, from which libavformat may infer the format.

    The rest of the name is left out, because libavformat could interpret it as a pattern (``%03d``), a protocol or a host.
    """

    def __init__(self, handle: int, name: str) -> None:
        self.name = name
        self._handle = handle

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        return os.read(self._handle, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek, and return the new offset from the beginning; -1 for an invalid position, such as before the beginning.

        libavformat tries such positions. An exception would be stored and would end reading later.
        """
        try:
            return os.lseek(self._handle, offset, whence)
        except OSError:
            return -1

    def tell(self) -> int:
        """The current offset."""
        return self.seek(0, os.SEEK_CUR)

    def size(self) -> int:
        """Size of the file in bytes."""
        return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Close the file."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        self.close()


def open_local(url: str) -> LocalFile:
    """Open ``file:///absolute/path``, as returned by ``resolve_source``, for reading.

    That path has no links and lies within the roots. A link may have replaced it since, so the kernel is asked which file was
    actually opened.

    Raises:
        SourceError: the file is missing, not readable, or not the one that was checked.
    """
    path, said = local_path(url), shown(url)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise SourceError(f"{said} is not readable; check its permissions") from None
    except OSError as error:
        raise SourceError(f"{said} cannot be read ({error.strerror}); check the path") from None
    extension = _EXTENSION.search(path)
    file = LocalFile(handle, f"film{extension[0] if extension else ''}")
    if not stat.S_ISREG(os.fstat(handle).st_mode) or os.readlink(f"/proc/self/fd/{handle}") != path:
        raise SourceError(f"{said} was replaced before it could be opened; leave it in place while it is read")
    return file
