"""Files as sources: opened once, as the very file that was checked, and handed to libavformat as a stream of bytes.

libavformat itself is allowed to open nothing then, so that no playlist, reference or list of files inside of a file leads
to another one.
"""

from __future__ import annotations

import os
import re
import stat

from streamwave.errors import SourceError
from streamwave.sources.address import local_path, shown

#: A name's extension, if it has one of the usual kind.
_EXTENSION = re.compile(r"\.[A-Za-z0-9_]{1,16}\Z")


class LocalFile:
    """A file object that can be read and sought. ``name`` has its extension, from which libavformat may know its kind.

    Nothing else of its name is there: what it would take for a pattern (``%03d``), for a protocol or a host.
    """

    def __init__(self, handle: int, name: str) -> None:
        self.name = name
        self._handle = handle

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""
        return os.read(self._handle, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; where that is from the beginning. -1 if there is none, as before the beginning of a short file.

        libavformat tries such places. An exception would be kept for later and end the reading.
        """
        try:
            return os.lseek(self._handle, offset, whence)
        except OSError:
            return -1

    def tell(self) -> int:
        """The present place."""
        return self.seek(0, os.SEEK_CUR)

    def size(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._handle).st_size

    def close(self) -> None:
        """Let go of the file."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        self.close()


def open_local(url: str) -> LocalFile:
    """Open ``file:///absolute/path`` as ``resolve_source`` returned it, for reading.

    That path is without links and within the roots. Somebody may have put a link in its place since then, so the kernel
    is asked what was opened.

    Raises:
        SourceError: it is gone, may not be read, or is not what was checked.
    """
    path, said = local_path(url), shown(url)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise SourceError(f"{said} may not be read; check its permissions") from None
    except OSError as error:
        raise SourceError(f"{said} cannot be read ({error.strerror}); check the path") from None
    extension = _EXTENSION.search(path)
    file = LocalFile(handle, f"film{extension[0] if extension else ''}")
    if not stat.S_ISREG(os.fstat(handle).st_mode) or os.readlink(f"/proc/self/fd/{handle}") != path:
        raise SourceError(f"{said} is not the file any more that it was; leave it in its place while it is read")
    return file
