"""Finds out what the publisher of a source could do better, while the source is received. Gives each piece of advice once."""

from __future__ import annotations

from fractions import Fraction

from streamwave.receive.clock import Timed
from streamwave.spool import advice
from streamwave.spool.advice import Advice
from streamwave.timing import round_half_up

#: At the beginning of a live source comes a burst of packets that the server has buffered; they say nothing about its clock.
SETTLE_MS = 10_000


class Advisor:
    """Watches one connection. Times are in milliseconds since its origin; only ``live`` sources are compared with our clock."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._origin: Fraction | None = None
        self._key_ms = 0
        self._shown_ms: int | None = None
        self._clock: tuple[int, int] | None = None  # media time, and the wall clock at that time
        self._said: set[str] = set()
        self._new: list[Advice] = []

    def take(self) -> list[Advice]:
        """The advice since the last call."""
        new, self._new = self._new, []
        return new

    def say(self, *what: Advice | None, again: bool = False) -> None:
        """Give advice. Only the first with a code counts, unless ``again``."""
        for found in what:
            if found is not None and (again or found.code not in self._said):
                self._said.add(found.code)
                self._new.append(found)

    def ms(self, at: Fraction) -> int:
        """A time on the source's clock, in milliseconds since the first picture."""
        if self._origin is None:
            self._origin = at
        return round_half_up((at - self._origin) * 1000)

    def picture(self, timed: Timed, now_ms: int, *, entry: bool = True) -> None:
        """Watch a picture; ``now_ms`` is the wall clock. ``entry``: see ``VideoParameters.is_entry``."""
        at_ms = self.ms(timed.shown)
        if self._shown_ms is None:
            self._key_ms = at_ms  # only audio may have come before
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
        """Audio begins at ``at``, after the first picture; it is published (``heard``) or left out."""
        if not heard:
            self.say(advice.sound_unheard(self.ms(at)))
        elif self._live:
            self.say(advice.sound_late(self.ms(at)))

    def counts(self, at: Fraction, *, jumps: int, lost: int, damaged: int, slip: Fraction, heard: bool = True) -> None:
        """Watch the counters; ``slip`` is the seconds of silence inserted, less the seconds of audio dropped.

        ``heard``: audio has come, or none is expected.
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
