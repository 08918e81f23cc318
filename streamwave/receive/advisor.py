"""Watches a source while it is received for what its publisher could do better. Says each thing once."""

from __future__ import annotations

from fractions import Fraction

from streamwave.receive.clock import Timed
from streamwave.spool import advice
from streamwave.spool.advice import Advice
from streamwave.timing import round_half_up

#: The first seconds of a live source are a burst of what the server has kept: no clock can be read from them.
SETTLE_MS = 10_000


class Advisor:
    """One connection. Times in milliseconds since its origin; ``live`` sources have to keep up with our clock, too."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._origin: Fraction | None = None
        self._key_ms = 0
        self._shown_ms: int | None = None
        self._clock: tuple[int, int] | None = None  # media time and wall clock that belonged together
        self._said: set[str] = set()
        self._new: list[Advice] = []

    def take(self) -> list[Advice]:
        """What is new since the last call."""
        new, self._new = self._new, []
        return new

    def say(self, *what: Advice | None, again: bool = False) -> None:
        """Note something; only the first of a code counts unless ``again``."""
        for found in what:
            if found is not None and (again or found.code not in self._said):
                self._said.add(found.code)
                self._new.append(found)

    def ms(self, at: Fraction) -> int:
        """A time on the source's clock since the first picture."""
        if self._origin is None:
            self._origin = at
        return round_half_up((at - self._origin) * 1000)

    def picture(self, timed: Timed, now_ms: int, *, entry: bool = True) -> None:
        """See a picture go by; ``now_ms`` is the wall clock. Not every keyframe is an ``entry`` (``VideoParameters``)."""
        at_ms = self.ms(timed.shown)
        if self._shown_ms is None:
            self._key_ms = at_ms  # there may have been sound alone before
        since_ms = at_ms - self._key_ms
        if timed.packet.is_keyframe and entry:
            self._key_ms = at_ms
            if since_ms > advice.KEYFRAMES_RARE_MS:
                self.say(advice.keyframes_rare(since_ms, at_ms, live=self._live))
        elif since_ms > advice.KEYFRAME_MISSING_MS:
            self.say(advice.keyframe_missing(since_ms, at_ms, live=self._live))
        if self._live:
            if self._shown_ms is not None and at_ms < self._shown_ms:
                self.say(advice.b_frames_live(at_ms))
            self._drift(at_ms, now_ms)
        self._shown_ms = at_ms if self._shown_ms is None else max(at_ms, self._shown_ms)

    def _drift(self, at_ms: int, now_ms: int) -> None:
        if at_ms < SETTLE_MS:
            return
        if self._clock is None:
            self._clock = at_ms, now_ms
        over_ms = now_ms - self._clock[1]
        drift_ms = over_ms - (at_ms - self._clock[0])
        if over_ms >= advice.DRIFT_OVER_MS and abs(drift_ms) > advice.DRIFT_MS:
            self.say(advice.clock_drift(drift_ms, over_ms, at_ms))

    def sound_begins(self, at: Fraction, *, heard: bool = True) -> None:
        """The first sound that comes after the first picture is ``heard`` at ``at``, or left out."""
        if not heard:
            self.say(advice.sound_unheard(self.ms(at)))
        elif self._live:
            self.say(advice.sound_late(self.ms(at)))

    def counts(self, at: Fraction, *, jumps: int, lost: int, damaged: int, slip: Fraction, heard: bool = True) -> None:
        """See what was counted so far; ``slip`` in seconds of silence put in, less sound taken out.

        ``heard``: some sound has come, or need not.
        """
        at_ms = self.ms(at)
        if self._live and not heard:
            self.say(advice.sound_missing(at_ms))
        if jumps:
            self.say(advice.clock_jumped(jumps, at_ms, live=self._live))
        if lost:
            self.say(advice.pictures_lost(lost, at_ms))
        if damaged:
            self.say(advice.damaged(damaged, at_ms, live=self._live))
        if abs(slip) * 1000 > advice.SLIP_MS:
            self.say(advice.sound_slips(round_half_up(slip * 1000), at_ms, live=self._live))
