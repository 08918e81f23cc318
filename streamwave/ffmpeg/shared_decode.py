"""Share one FFmpeg process, and so one decode, among the tasks of a chunk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Rendition

#: How long the first task of a chunk waits for the others to join its process, in seconds. On one machine they arrive much
#: sooner, even if it is busy; separate decodes would make it busier still.
JOIN_S = 3.0


@dataclass
class _Gathering:
    joined: dict[str, Rendition] = field(default_factory=dict)
    done: Future[str | None] = field(default_factory=Future)
    started: bool = False


class SharedDecode:
    """Lets the tasks of one chunk on this machine share an FFmpeg process, so that the chunk is decoded once.

    The first task waits until all ``expected`` tasks have joined or ``JOIN_S`` has passed, then runs the process for all that
    have joined; they all get its outcome. A task that arrives later, or retries after a failure, runs alone.
    """

    def __init__(self) -> None:
        self._gatherings: dict[tuple[str, int], _Gathering] = {}
        self._begun: dict[tuple[str, int], _Gathering] = {}
        self._changed = threading.Condition()

    def encode(
        self, transcoder: Transcoder, chunk: Chunk, rendition: Rendition, expected: int, *, alone: bool = False
    ) -> str | None:
        """Encode ``rendition`` of ``chunk``; ``alone`` for a retry. Returns and raises what ``Transcoder.encode`` does."""
        key = (str(transcoder.work), chunk.number)
        if (announced := self._announced(key, rendition)) is not None:
            return announced.result()
        if alone or expected <= 1:
            return transcoder.encode(chunk, [rendition])
        with self._changed:
            gathering = self._gatherings.get(key)
            if gathering is None:
                leader = True
                gathering = self._gatherings[key] = _Gathering()
            else:
                leader = False
            late = gathering.started
            if not late:
                gathering.joined[rendition.name] = rendition
                self._changed.notify_all()
        if late:
            return transcoder.encode(chunk, [rendition])
        if leader:
            return self._lead(transcoder, chunk, key, gathering, expected)
        return gathering.done.result()

    def begin(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> Callable[[], None]:
        """Announce the encoding of ``renditions`` before their tasks exist; return the function that does it, in any thread.

        The first attempts of the tasks get its outcome, whether it has ended when they come or not.
        """
        gathering = _Gathering({r.name: r for r in renditions})
        with self._changed:
            self._begun[str(transcoder.work), chunk.number] = gathering

        def encode() -> None:
            try:
                gathering.done.set_result(transcoder.encode(chunk, renditions))
            except BaseException as error:
                gathering.done.set_exception(error)

        return encode

    def _announced(self, key: tuple[str, int], rendition: Rendition) -> Future[str | None] | None:
        """The outcome that ``begin`` has announced for ``rendition``; only once, because a retry needs one of its own."""
        with self._changed:
            begun = self._begun.get(key)
            if begun is None or begun.joined.pop(rendition.name, None) is None:
                return None
            if not begun.joined:
                del self._begun[key]
            return begun.done

    def _lead(
        self, transcoder: Transcoder, chunk: Chunk, key: tuple[str, int], gathering: _Gathering, expected: int
    ) -> str | None:
        end = time.monotonic() + JOIN_S
        with self._changed:
            self._changed.wait_for(lambda: len(gathering.joined) >= expected, end - time.monotonic())
            gathering.started = True
            # In the ladder's order rather than that of arrival, so that the command line is always the same.
            together = sorted(gathering.joined.values(), key=lambda r: (-r.width * r.height, r.name))
        try:
            where = transcoder.encode(chunk, together)
            gathering.done.set_result(where)
            return where
        except BaseException as error:
            gathering.done.set_exception(error)
            raise
        finally:
            with self._changed:
                self._gatherings.pop(key, None)
