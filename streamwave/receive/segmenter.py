"""The segmenter: reads one source and writes its spool, in a process of its own that survives all others.

``python -m streamwave.receive.segmenter SPOOL``, with ``Options`` on standard input, ends by itself when the source ends.
SIGTERM and SIGINT end it gracefully: packets that have arrived are still taken in, the last chunk is closed, and the journal
gets its end record. SIGUSR1 does the same without taking in anything more; it is for a publisher that was given up but goes on.

Where the pictures change their size or their rate within the source, the session ends with the reason ``CONTINUED``, and the
next session of its broadcast, or of its file, begins.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import Packet

from streamwave.ffmpeg.probe import nothing_in
from streamwave.model import SourceInfo
from streamwave.receive.advisor import Advisor
from streamwave.receive.audio import AudioTrack, memory_samples
from streamwave.receive.audio_decoder import AudioDecoder
from streamwave.receive.changes import Change, VideoParameters
from streamwave.receive.clock import SourceClock, Timed, grid_from, heard_from, in_step, shown_from
from streamwave.receive.outcome import OtherKind, Outcome, outcome_of
from streamwave.receive.pictures import is_hidden
from streamwave.receive.reader import Reader
from streamwave.receive.sessions import Sessions
from streamwave.receive.writer import SessionWriter
from streamwave.spool import advice
from streamwave.spool.broadcast import had_pictures_before
from streamwave.spool.journal import OTHER_KIND, PICTURES_BEGIN, PICTURES_GONE, SPOOL_FAILED
from streamwave.spool.options import Options, take_options
from streamwave.spool.remote.mirror import mirroring
from streamwave.util import private

#: A source without a packet for this many seconds gets silence for the audio that a closed chunk still lacks.
SILENT_S = 3.0
#: Audio packets that are kept until the first keyframe tells where the session begins.
EARLY_PACKETS = 1024
#: How many seconds to wait for the end of a source that seems to go on, before it is received again.
OVER_S = 0.3
_NOTHING_DECODABLE = "the source contains no audio, and no keyframe from which pictures can be decoded"


class Segmenter:
    """Receives one source. ``undecodable`` counts pictures from before the first keyframe."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stop, self.at_once = threading.Event(), False
        self.undecodable = 0
        self._advisor = Advisor(live=options.live)
        self._sessions = Sessions(options, self.stop, self._advisor)
        self._reader = Reader(
            options.source, live=options.live, timeout_s=options.read_timeout_s, audio_track=options.audio_track,
            await_pictures=options.await_pictures, limits=options.limits,
        )  # fmt: skip
        self._clock: SourceClock | None = None
        self._decoder: AudioDecoder | None = None
        self._parameters: VideoParameters | None = None
        self._early: list[Timed] = []  # audio from before the first keyframe

    @property
    def session(self) -> SessionWriter | None:
        """The session that is being written; None before the first packet that can be decoded."""
        return self._sessions.current

    def give_up(self) -> None:
        """Stop, and take in nothing more."""
        self.at_once = True
        self.stop.set()

    def folders(self) -> list[Path]:
        """The sessions that were begun so far."""
        return self._sessions.folders()

    def run(self) -> None:
        """Read the source to its end. Whatever happens, the journal says how it ended."""
        with closing(self._reader):
            self._run()

    def _run(self) -> None:
        outcome = Outcome("end of source")
        try:
            self._reader.start()
            for packet in self._reader.packets(self.stop, lambda: self.at_once, self._idle):
                self._take(packet)
            if self.stop.is_set():
                outcome = Outcome("stopped")
        except Exception as failure:
            outcome = self._outcome_of(failure)
        try:
            if outcome.reason == SPOOL_FAILED:
                self._sessions.complete_all()
            else:
                self._finish()
        except Exception as failure:
            if outcome.error is None:
                outcome = self._outcome_of(failure)
        if not self._sessions.opened and outcome.error is None and outcome.reason not in OTHER_KIND:
            # A server may announce tracks, or not even that, before its publisher goes away without sending a packet.
            error = _NOTHING_DECODABLE if self._reader.heard else nothing_in(self.options.source, self.options.limits)
            outcome = Outcome(outcome.reason, error)
        self._sessions.end(outcome)

    def _outcome_of(self, failure: Exception) -> Outcome:
        return outcome_of(failure, self.options, self.folders()[-1])

    @property
    def _video(self) -> Any:
        return self._reader.video

    def _may_be_renewed(self) -> bool:
        # A source that has been sent completely could not be received again.
        return self.options.renewable and not self.stop.is_set() and not self._reader.over.wait(OVER_S)

    @property
    def _info(self) -> SourceInfo:
        assert self._reader.info is not None
        return self._reader.info

    def _idle(self, silent_s: float) -> None:
        # After a short interruption of the network the samples still come, so silence must not take their place.
        if self.session is not None and silent_s > SILENT_S:
            self.session.complete(force=True)

    def _take(self, packet: Packet[Any]) -> None:
        if self._clock is None:
            self._clock = SourceClock(video=self._video is not None, steady=self._reader.by_arrival)
        of_video = self._video is not None and packet.stream is self._video
        for timed in self._clock.put(packet, "video" if of_video else "audio"):
            self._place(timed)
        if self.session is not None:
            self.session.check_limits()

    def _place(self, timed: Timed) -> None:
        if timed.kind == "video":
            self._take_video(timed)
        else:
            self._take_audio(timed)
        self._sessions.complete_before(timed.shown if timed.kind == "video" else None)
        if self.session is not None:
            self.session.follow(timed)
            self._advise(self.session, timed)

    def _advise(self, session: SessionWriter, timed: Timed) -> None:
        if timed.kind == "video" and not is_hidden(timed.packet):
            is_entry = self._parameters is None or self._parameters.is_entry(timed.packet)
            self._advisor.picture(timed, time.time_ns() // 1_000_000, entry=is_entry)
            if timed.packet.is_keyframe and self._clock is not None:
                self._advisor.counts(
                    timed.shown,
                    jumps=self._clock.jumps,
                    lost=session.pictures.undecodable + self._clock.untimed,
                    damaged=self._reader.damaged + (self._decoder.errors if self._decoder is not None else 0),
                    slip=self._decoder.mended if self._decoder is not None else Fraction(0),
                    heard=self._decoder is None or self._decoder.heard,
                )
        session.advise(self._advisor)

    # --- pictures -----------------------------------------------------------------------------------------------------

    def _take_video(self, timed: Timed) -> None:
        packet = timed.packet
        other = self._parameters is not None and self._parameters.stream is not self._video
        if (self.session is None or other) and not packet.is_keyframe:
            self.undecodable += 1
            return
        session = self.session
        if session is None:
            timed = in_step(timed, self._video)
            session = self._begin(shown_from(timed, self._video))
        if self._parameters is None:
            self._add_pictures(session, timed)
            return
        if not packet.is_keyframe or not (not session.pictures.begun or other or self._parameters.is_entry(packet)):
            session.pictures.put(timed)
            return
        change = self._parameters.look(packet, self._video, self._info.video)
        if session.pictures.begun and change is Change.PICTURE:
            session = self._sessions.change_pictures(session, timed.shown, self._parameters.info)
        elif session.pictures.chunk is not None and session.pictures.ends_before(timed):
            session = self._sessions.at_its_rate(session)
        if change is not Change.NONE or session.pictures.ends_before(timed):
            self._set_grid(session)
            session.pictures.cut(timed)
        else:
            session.pictures.put(timed)

    def _begin(self, origin: Fraction) -> SessionWriter:
        if had_pictures_before(self.options.spool) is (self._video is None) and self._may_be_renewed():
            raise OtherKind(PICTURES_BEGIN if self._video is not None else PICTURES_GONE)
        audio = None
        announced = self._info.audio is not None  # audio that is announced may still begin later
        if announced or self.options.live:
            self._decoder = AudioDecoder(origin, self._reader.stated_audio_end, announced=announced)
            audio = AudioTrack(self.options.audio_bps, self._decoder, memory=memory_samples(self.options.segment_ms))
        if self._video is not None:
            assert self._info.video is not None
            self._parameters = VideoParameters(self._video, self._info.video, self.options)
        session = self._sessions.begin(self._info, self._video, origin=origin, audio=audio, parameters=self._parameters)
        self._advisor.say(*advice.of_tracks(self._info))
        if self._decoder is not None:
            for timed in self._early:
                self._decoder.push(timed)
            heard = (timed.shown for timed in self._early if not is_hidden(timed.packet))
            self._advisor.say(advice.sound_early(origin - next(heard, origin), live=self.options.live))
        self._early = []
        return session

    def _add_pictures(self, session: SessionWriter, timed: Timed) -> None:
        """Pictures begin in a session of audio alone. Players cannot switch to them, so they need another broadcast."""
        if timed.packet.is_keyframe:
            if self._may_be_renewed():
                raise OtherKind(PICTURES_BEGIN)
            self._advisor.say(advice.pictures_late(session.ms(timed.shown), live=self.options.live))

    def _set_grid(self, session: SessionWriter) -> None:
        if session.rate is not None and self._clock is not None:
            self._clock.on_grid = grid_from(session.origin, session.rate)

    # --- audio --------------------------------------------------------------------------------------------------------

    def _take_audio(self, timed: Timed) -> None:
        if self.session is None and self._video is None:
            self._begin(heard_from(timed, self._reader.audio))
        if self._decoder is None:
            if self.session is None:
                self._early = [*self._early[1 - EARLY_PACKETS :], timed]
            else:
                self._advisor.sound_begins(timed.shown, heard=False)
            return
        if self._clock is not None and self._clock.jumps:
            self._decoder.end = None  # it was stated on the clock before the jump
        heard_before = self._decoder.heard
        self._decoder.push(timed)
        if self._decoder.heard and not heard_before:
            self._advisor.sound_begins(timed.shown)
            if (
                self.session is not None
            ):  # for its open record, if that is not written yet, and for the sessions after it
                self.session.info = self.session.info.model_copy(update={"audio": self._info.audio})
        if self._parameters is None and self.session is not None:
            self.session.cut_audio_only()

    def _finish(self) -> None:
        """Take in what the clock and the decoder still hold, and close the last chunk."""
        if self._clock is not None:
            for timed in self._clock.flush():
                self._place(timed)
        if self._decoder is not None and self._reader.audio is not None:
            self._decoder.flush(self._reader.audio.codec_context)
        self._sessions.end_before()
        if self.session is not None:
            self.session.finish()
            if self._reader.tracks_added:
                self._advisor.say(advice.tracks_added())
            self.session.advise(self._advisor)


def main() -> int:
    """The segmenter process; ``Options`` come as JSON on standard input."""
    private.begin()
    options = take_options(sys.stdin.buffer.read())
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # a process that sees the lock may send them
    segmenter = Segmenter(options)
    for one in signals:
        signal.signal(one, lambda number, _: segmenter.give_up() if number == signal.SIGUSR1 else segmenter.stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    with mirroring(options.spool, options.store_options, segmenter.folders):
        segmenter.run()
    return 0


if __name__ == "__main__":
    # Not sys.exit: the reader's thread may still wait for a source that sends nothing, and would keep the process alive.
    os._exit(main())
