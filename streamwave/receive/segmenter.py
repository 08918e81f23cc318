"""The segmenter: reads one source and writes its spool. A process of its own, so that it survives all others.

``python -m streamwave.spool.segmenter SPOOL``, with ``Options`` on standard input, ends by itself with the source.
SIGTERM and SIGINT end it gracefully: what has already arrived is still taken in, the last chunk is closed, and the journal
gets its end record. SIGUSR1 ends it so too, but takes nothing more in, for a publisher that is given up and goes on.

Where the pictures change their size or their rate within the source, the session ends with the reason ``CONTINUED`` and
goes on as the next one of its broadcast, or of its file. A segmenter holds the locks of all sessions that it has written
until it ends, so that whoever stops any of them stops it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import Packet

from streamwave.errors import LimitError, SourceError
from streamwave.ffmpeg.admission import lacked_memory, too_much_memory
from streamwave.ffmpeg.probe import nothing_in
from streamwave.model import SourceInfo, VideoInfo
from streamwave.receive.advisor import Advisor
from streamwave.receive.audio import AudioTrack, memory_samples
from streamwave.receive.changes import Change, VideoParameters
from streamwave.receive.clock import SourceClock, Timed, grid_from, heard_from, in_step, shown_from
from streamwave.receive.pictures import is_hidden
from streamwave.receive.reader import Reader
from streamwave.receive.sound import Sound
from streamwave.receive.writer import SessionWriter
from streamwave.sources.address import shown
from streamwave.spool import advice
from streamwave.spool.broadcast import had_pictures_before, next_folder
from streamwave.spool.journal import (
    CONTINUED,
    LIMIT_REACHED,
    OTHER_KIND,
    PICTURES_BEGIN,
    PICTURES_GONE,
    SEGMENTER_FAILED,
    SPOOL_FAILED,
    EndRecord,
    JournalWriter,
    following_folder,
)
from streamwave.spool.options import Options, take_options
from streamwave.spool.pace import pace_of
from streamwave.spool.remote.mirror import mirroring
from streamwave.util import private

log = logging.getLogger("streamwave.segmenter")

#: A source that has said nothing for this long gets silence for the audio that a closed chunk still lacks.
SILENT_S = 3.0
#: Packets of sound that are kept until the first keyframe tells where the session begins.
EARLY_PACKETS = 1024
#: Sessions that one connection can become because of its frame rate: beyond that it is a variable one.
MOST_RATE_CHANGES = 8
#: How long to wait for the end of a source that seems to go on, before it is received once more.
OVER_S = 0.3
_NOTHING_DECODABLE = "the source holds no picture that can be decoded from a keyframe on, and no audio"


class _OtherKind(Exception):
    """What comes has pictures, and its broadcast has none, or the other way round; which is one of ``OTHER_KIND``."""


class Segmenter:
    """One run over one source."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stop, self.at_once = threading.Event(), False
        self.session: SessionWriter | None = None
        self.undecodable = self._rate_changes = 0
        self._journals = [JournalWriter(options.spool)]
        self._reader = Reader(
            options.source, live=options.live, timeout_s=options.read_timeout_s, audio_track=options.audio_track,
            await_pictures=options.await_pictures, limits=options.limits,
        )  # fmt: skip
        self._clock: SourceClock | None = None
        self._sound: Sound | None = None
        self._parameters: VideoParameters | None = None
        self._ending: SessionWriter | None = None  # the session before, whose last chunk waits for its audio
        self._early: list[Timed] = []  # audio from before the first keyframe
        self._pace = pace_of(options)
        self._advisor = Advisor(live=options.live)

    def give_up(self) -> None:
        """Stop, and take nothing more in."""
        self.at_once = True
        self.stop.set()

    def folders(self) -> list[Path]:
        """The sessions that were begun so far."""
        return [journal.folder for journal in self._journals]

    def run(self) -> None:
        """Read the source to its end. Whatever happens, the journal says how it ended."""
        reason, error = "end of source", None
        try:
            self._reader.start()
            for packet in self._reader.packets(self.stop, lambda: self.at_once, self._idle):
                self._take(packet)
            if self.stop.is_set():
                reason = "stopped"
        except _OtherKind as found:
            reason = str(found)
        except (SourceError, LimitError) as failure:
            reason = LIMIT_REACHED if isinstance(failure, LimitError) else "source failed"
            error = str(failure)
        except OSError as failure:
            reason, error = SPOOL_FAILED, self._unwritable(failure)
        except Exception as failure:
            reason, error = SEGMENTER_FAILED, self._unexpected(failure)
        try:
            self._finish(received=reason != SPOOL_FAILED)
        except OSError as failure:
            if error is None:
                reason, error = SPOOL_FAILED, self._unwritable(failure)
        except Exception as failure:
            if error is None:
                reason, error = SEGMENTER_FAILED, self._unexpected(failure)
        with suppress(Exception):  # it has failed already, or is ended
            self._end_session_before()
        session = self.session
        if reason == SPOOL_FAILED and session is not None:
            session.make_room()
        nothing = (session is None or not session.opened) and len(self._journals) == 1
        if nothing and error is None and reason not in OTHER_KIND:
            # A server may tell what would come, or not even that, before its publisher goes away without a packet.
            error = _NOTHING_DECODABLE if self._reader.heard else nothing_in(self.options.source, self.options.limits)
        if session is not None:
            session.end(reason, error)
        else:
            self._journals[0].append(EndRecord(reason=reason, error=error, ended_unix_ms=time.time_ns() // 1_000_000))
        for journal in self._journals:
            journal.close()

    def _unwritable(self, failure: OSError) -> str:
        return f"the spool {self._journals[-1].folder} cannot be written ({failure.strerror})"

    def _unexpected(self, failure: Exception) -> str:
        """A sentence for people on what nobody has foreseen; those who can mend it find more in the log."""
        log.error("the source could not be cut into chunks", exc_info=failure)
        if isinstance(failure, MemoryError) or lacked_memory(self.options.limits):
            return too_much_memory(self.options.source, self.options.limits)
        what = f"{type(failure).__name__}: {(str(failure) or 'no reason given').splitlines()[0]}"
        advised = "convert it to H.264 and AAC, and report this"
        return f"{shown(self.options.source)} cannot be cut into chunks any further ({what}); {advised}"

    @property
    def _video(self) -> Any:
        return self._reader.video

    def _may_be_renewed(self) -> bool:
        # What has all been sent could not be received once more.
        return self.options.renewable and not self.stop.is_set() and not self._reader.over.wait(OVER_S)

    @property
    def _info(self) -> SourceInfo:
        assert self._reader.info is not None
        return self._reader.info

    def _idle(self, silent_s: float) -> None:
        # A hiccup of the network is no reason to put silence where samples are still to come.
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
        if self._ending is not None and self._ending.complete(timed.shown if timed.kind == "video" else None):
            self._end_session_before()
        if self.session is not None:
            self.session.follow(timed)
            self._advise(self.session, timed)

    def _advise(self, session: SessionWriter, timed: Timed) -> None:
        if timed.kind == "video" and not is_hidden(timed.packet):
            whole = self._parameters is None or self._parameters.is_entry(timed.packet)
            self._advisor.picture(timed, time.time_ns() // 1_000_000, entry=whole)
            if timed.packet.is_keyframe and self._clock is not None:
                self._advisor.counts(
                    timed.shown,
                    jumps=self._clock.jumps,
                    lost=session.undecodable + self._clock.untimed,
                    damaged=self._reader.damaged + (self._sound.errors if self._sound is not None else 0),
                    slip=self._sound.mended if self._sound is not None else Fraction(0),
                    heard=self._sound is None or self._sound.heard,
                )
        session.advise(self._advisor)

    # --- pictures -----------------------------------------------------------------------------------------------------

    def _take_video(self, timed: Timed) -> None:
        packet = timed.packet
        other = self._parameters is not None and self._parameters.stream is not self._video
        if (self.session is None or other) and not packet.is_keyframe:
            self.undecodable += 1
            return
        if self.session is None:
            timed = in_step(timed, self._video)
            self._begin(shown_from(timed, self._video))
        session = self.session
        assert session is not None
        if self._parameters is None:
            self._add_pictures(session, timed)
            return
        if not packet.is_keyframe or not (not session.has_pictures or other or self._parameters.is_entry(packet)):
            session.put(timed)
            return
        change = self._parameters.look(packet, self._video, self._info.video)
        if session.has_pictures and change is Change.PICTURE:
            session = self._next_session(timed.shown, self._parameters.info) or session
        elif session.chunk is not None and session.ends_before(timed):
            session = self._at_its_rate(session)
        if change is not Change.NONE or session.ends_before(timed):
            self._set_grid(session)
            session.cut(timed)
        else:
            session.put(timed)

    def _begin(self, origin: Fraction) -> None:
        if had_pictures_before(self.options.spool) is (self._video is None) and self._may_be_renewed():
            raise _OtherKind(PICTURES_BEGIN if self._video is not None else PICTURES_GONE)
        audio = None
        announced = self._info.audio is not None  # it may not have begun yet
        if announced or self.options.live:
            self._sound = Sound(origin, self._reader.stated_audio_end, announced=announced)
            audio = AudioTrack(self.options.audio_bps, self._sound, memory=memory_samples(self.options.segment_ms))
        if self._video is not None:
            assert self._info.video is not None
            self._parameters = VideoParameters(self._video, self._info.video, self.options)
        self.session = self._writer(self._journals[0], self._info, origin, time.time_ns() // 1_000_000, audio)
        self._advisor.say(*advice.of_tracks(self._info))
        if self._sound is not None:
            for timed in self._early:
                self._sound.push(timed)
            heard = (timed.shown for timed in self._early if not is_hidden(timed.packet))
            self._advisor.say(advice.sound_early(origin - next(heard, origin), live=self.options.live))
        self._early = []

    def _add_pictures(self, session: SessionWriter, timed: Timed) -> None:
        """Pictures have come to sound that was alone. Players cannot go over to them, so another broadcast has them."""
        if timed.packet.is_keyframe:
            if self._may_be_renewed():
                raise _OtherKind(PICTURES_BEGIN)
            self._advisor.say(advice.pictures_late(session.ms(timed.shown), live=self.options.live))

    def _writer(
        self, journal: JournalWriter, info: SourceInfo, origin: Fraction, origin_unix_ms: int, audio: AudioTrack | None
    ) -> SessionWriter:
        session = SessionWriter(
            self.options, journal, info, self._video, origin=origin, origin_unix_ms=origin_unix_ms, audio=audio,
            stop=self.stop, relieve=self._end_session_before,
        )  # fmt: skip
        session.parameters = self._parameters
        return session

    def _set_grid(self, session: SessionWriter) -> None:
        if session.rate is not None and self._clock is not None:
            self._clock.on_grid = grid_from(session.origin, session.rate)

    # --- changes in mid-stream ----------------------------------------------------------------------------------------

    def _at_its_rate(self, session: SessionWriter) -> SessionWriter:
        """The session that the open chunk belongs to: a new one if its pictures come at another rate."""
        rate = session.other_rate()
        if rate is None or self._rate_changes == MOST_RATE_CHANGES or session.info.video is None:
            return session
        assert session.chunk is not None
        origin = session.origin + Fraction(session.chunk.start_ms, 1000)
        info = session.info.video.model_copy(update={"stated_rate": rate})
        following = self._open_next(session, origin, info)
        if following is None:
            return session
        self._rate_changes += 1
        assert session.rate is not None
        self._advisor.say(advice.rate_changed(session.rate, rate, self._advisor.ms(origin)), again=True)
        session.give_chunk(following)
        self._leave(session, following)
        return following

    def _next_session(self, origin: Fraction, video: VideoInfo) -> SessionWriter | None:
        """End the session at ``origin`` and go on in the next one of the broadcast; None if there can't be one."""
        session = self.session
        assert session is not None
        self._pace.take()
        session.end_at(origin)
        if session.info.video is not None:
            before, after = ((of.width, of.height) for of in (session.info.video, video))
            if before != after:
                self._advisor.say(advice.size_changed(before, after, self._advisor.ms(origin)), again=True)
        following = self._open_next(session, origin, video.model_copy(update={"stated_rate": None}))
        if following is not None:
            self._leave(session, following)
        return following

    def _open_next(self, session: SessionWriter, origin: Fraction, video: VideoInfo) -> SessionWriter | None:
        folder = following_folder(session.folder) if self.options.numbered else next_folder(session.folder)
        if folder is None:
            return None
        self._journals.append(journal := JournalWriter(folder))
        audio = session.audio.branch(origin) if session.audio is not None else None
        origin_unix_ms = session.origin_unix_ms + round((origin - session.origin) * 1000)
        return self._writer(journal, session.info.model_copy(update={"video": video}), origin, origin_unix_ms, audio)

    def _leave(self, session: SessionWriter, following: SessionWriter) -> None:
        self._end_session_before()
        self.session, self._ending = following, session
        if session.complete():
            self._end_session_before()

    def _end_session_before(self) -> None:
        """End the session before the present one, if it is still waiting for the sound of its last chunk."""
        if self._ending is not None:
            self._ending.complete(force=True)
            self._ending.end(CONTINUED)
            self._ending = None

    # --- sound --------------------------------------------------------------------------------------------------------

    def _take_audio(self, timed: Timed) -> None:
        if self.session is None and self._video is None:
            self._begin(heard_from(timed, self._reader.audio))
        if self._sound is None:
            if self.session is None:
                self._early = [*self._early[1 - EARLY_PACKETS :], timed]
            else:
                self._advisor.sound_begins(timed.shown, heard=False)
            return
        if self._clock is not None and self._clock.jumps:
            self._sound.end = None  # it was said on another clock
        begun = self._sound.heard
        self._sound.push(timed)
        if self._sound.heard and not begun:
            self._advisor.sound_begins(timed.shown)
            if self.session is not None:  # what is told of it, if it has not been yet, and of those that follow
                self.session.info = self.session.info.model_copy(update={"audio": self._info.audio})
        if self._parameters is None and self.session is not None:
            self.session.cut_audio_only()

    def _finish(self, *, received: bool) -> None:
        """Journal what was ``received``; if the spool could not be written, only what was closed before."""
        if not received:
            for session in (self._ending, self.session):
                if session is not None:
                    session.complete(force=True)
            return
        if self._clock is not None:
            for timed in self._clock.flush():
                self._place(timed)
        if self._sound is not None and self._reader.audio is not None:
            self._sound.flush(self._reader.audio.codec_context)
        self._end_session_before()
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
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # whoever sees the lock may ask for the end
    segmenter = Segmenter(options)
    for one in signals:
        signal.signal(one, lambda number, _: segmenter.give_up() if number == signal.SIGUSR1 else segmenter.stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    with mirroring(options.spool, options.store_options, segmenter.folders):
        segmenter.run()
    return 0


if __name__ == "__main__":
    # Not sys.exit: the reader may still wait for a source that says nothing any more, and must not hold the process.
    os._exit(main())
