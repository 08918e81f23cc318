"""Audio waits for pictures that are still to begin, because players cannot switch from audio alone to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from av import Packet

from streamwave.receive.opening import Tracks

#: At most this many packets wait, and those of a live source at most this many seconds: for pictures that the source announces,
#: and for pictures that are known to come.
MOST_PACKETS = 1024
ANNOUNCED_S, KNOWN_S = 6, 12


class PictureWait:
    """Whether audio waits. ``known``: there will be pictures, even if nothing is to be seen of them at first."""

    def __init__(self, *, live: bool, known: bool) -> None:
        self._live, self._known = live, known
        self._waits = known
        self._has_pictures = False

    def found(self, tracks: Tracks) -> None:
        """The source has been opened, or has other tracks now."""
        if tracks.held is not None:
            self._waits = tracks.held
        self._has_pictures = tracks.video is not None
        self._waits = not self._has_pictures and (self._waits or tracks.announced)

    def goes_on(self, waiting: Sequence[Packet[Any]]) -> bool:
        """Whether ``waiting`` have to wait longer. In a file audio long before the pictures is not needed."""
        if self._waits and self._live:
            waited_s = _at(waiting[-1]) - _at(waiting[0])
            self._waits = len(waiting) < MOST_PACKETS and waited_s < (KNOWN_S if self._known else ANNOUNCED_S)
        self._waits = self._waits and not self._has_pictures
        return self._waits


def _at(packet: Packet[Any]) -> Fraction:
    return (packet.pts or 0) * Fraction(packet.time_base or 0)
