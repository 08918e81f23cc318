"""The sessions that one source becomes: one after the other where its pictures change their size or their rate."""

from __future__ import annotations

import time
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from streamwave.model import SourceInfo, VideoInfo
from streamwave.receive.advisor import Advisor
from streamwave.receive.audio import AudioTrack
from streamwave.receive.changes import VideoParameters
from streamwave.receive.outcome import Outcome
from streamwave.receive.writer import SessionWriter
from streamwave.spool import advice
from streamwave.spool.broadcast import next_folder
from streamwave.spool.journal import CONTINUED, SPOOL_FAILED, EndRecord, JournalWriter, following_folder
from streamwave.spool.options import Options
from streamwave.spool.pace import pace_of

#: Sessions that one connection can become because of its frame rate: after that the frame rate counts as variable.
MOST_RATE_CHANGES = 8


class Sessions:
    """``current`` is the session that is being written; None before the source's first packet that can be decoded.

    The session before it may still wait for the audio of its last chunk. The locks of all sessions are held until ``end``, so
    that whoever stops one of them stops the segmenter.
    """

    def __init__(self, options: Options, stop: Event, advisor: Advisor) -> None:
        self._options, self._advisor = options, advisor
        self._writer = partial(SessionWriter, options, stop=stop, relieve=self.end_before)
        self._pace = pace_of(options)
        self._rate_changes = 0
        self._journals = [JournalWriter(options.spool)]
        self._before: SessionWriter | None = None
        self.current: SessionWriter | None = None

    def folders(self) -> list[Path]:
        """The sessions that were begun so far."""
        return [journal.folder for journal in self._journals]

    @property
    def opened(self) -> bool:
        """Whether any session has a chunk."""
        return len(self._journals) > 1 or (self.current is not None and self.current.opened)

    def begin(
        self,
        info: SourceInfo,
        video: Any,
        *,
        origin: Fraction,
        audio: AudioTrack | None,
        parameters: VideoParameters | None,
    ) -> SessionWriter:
        """Begin the first session; ``video`` is the video track or None."""
        now_unix_ms = time.time_ns() // 1_000_000
        self.current = self._writer(
            self._journals[0],
            info,
            video,
            origin=origin,
            origin_unix_ms=now_unix_ms,
            audio=audio,
            parameters=parameters,
        )
        return self.current

    def at_its_rate(self, session: SessionWriter) -> SessionWriter:
        """The session that the open chunk of ``session`` belongs to: a new one if its pictures come at another rate."""
        rate = session.pictures.other_rate()
        if rate is None or self._rate_changes == MOST_RATE_CHANGES or session.info.video is None:
            return session
        assert session.pictures.chunk is not None
        origin = session.origin + Fraction(session.pictures.chunk.start_ms, 1000)
        following = self._open_next(session, origin, session.info.video.model_copy(update={"stated_rate": rate}))
        if following is None:
            return session
        self._rate_changes += 1
        assert session.rate is not None
        self._advisor.say(advice.rate_changed(session.rate, rate, self._advisor.ms(origin)), again=True)
        session.pictures.give_chunk(following.pictures)
        self._go_on_in(following)
        return following

    def change_pictures(self, session: SessionWriter, origin: Fraction, video: VideoInfo) -> SessionWriter:
        """End ``session`` at ``origin``, where pictures of another kind begin; the session that they belong to.

        That is the next one of the broadcast, or ``session`` if there can't be one.
        """
        self._pace.take()
        session.pictures.end_at(origin)
        if session.info.video is not None:
            before, after = ((of.width, of.height) for of in (session.info.video, video))
            if before != after:
                self._advisor.say(advice.size_changed(before, after, self._advisor.ms(origin)), again=True)
        following = self._open_next(session, origin, video.model_copy(update={"stated_rate": None}))
        if following is None:
            return session
        self._go_on_in(following)
        return following

    def _open_next(self, session: SessionWriter, origin: Fraction, video: VideoInfo) -> SessionWriter | None:
        folder = following_folder(session.folder) if self._options.numbered else next_folder(session.folder)
        if folder is None or session.parameters is None:
            return None
        self._journals.append(journal := JournalWriter(folder))
        audio = session.audio.branch(origin) if session.audio is not None else None
        origin_unix_ms = session.origin_unix_ms + round((origin - session.origin) * 1000)
        info, parameters = session.info.model_copy(update={"video": video}), session.parameters
        return self._writer(
            journal,
            info,
            parameters.stream,
            origin=origin,
            origin_unix_ms=origin_unix_ms,
            audio=audio,
            parameters=parameters,
        )

    def _go_on_in(self, following: SessionWriter) -> None:
        """Let ``following`` be the current session; the present one ends as soon as it has its audio."""
        self.end_before()
        self.current, self._before = following, self.current
        self.complete_before(None)

    def complete_before(self, newest: Fraction | None) -> None:
        """End the session before if it has its audio. ``newest`` is the time of the newest picture, if that is known."""
        if self._before is not None and self._before.complete(newest):
            self.end_before()

    def end_before(self) -> None:
        """End the session before the current one, if it is still waiting for its audio."""
        if self._before is not None:
            self._before.complete(force=True)
            self._before.end(CONTINUED)
            self._before = None

    def complete_all(self) -> None:
        """Journal the closed chunks of all sessions, with silence in place of audio that has not come."""
        for session in (self._before, self.current):
            if session is not None:
                session.complete(force=True)

    def end(self, outcome: Outcome) -> None:
        """Write the last lines of the journals, and release the locks."""
        with suppress(Exception):  # the outcome says already what has failed
            self.end_before()
        if self.current is not None:
            if outcome.reason == SPOOL_FAILED:
                self.current.make_room()
            self.current.end(outcome.reason, outcome.error)
        else:
            record = EndRecord(reason=outcome.reason, error=outcome.error, ended_unix_ms=time.time_ns() // 1_000_000)
            self._journals[0].append(record)
        for journal in self._journals:
            journal.close()
