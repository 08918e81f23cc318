"""How far a broadcast has been published at each of its outputs, and the errors there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamwave.errors import FencedError
from streamwave.manifest.progress import Progress
from streamwave.publish.queue import OutputQueue


class Standing:
    """The state of all outputs, read from their queues without waiting. ``queues`` are in the order of the outputs."""

    queues: Sequence[OutputQueue]

    @property
    def progress(self) -> Progress:
        """Progress of the output that is furthest."""
        return max((output.progress for output in self.queues), key=lambda progress: (progress.ended, progress.chunks))

    @property
    def latencies_ms(self) -> list[int]:
        """For the last chunks at that output: milliseconds from the last frame's arrival to the manifest that names it."""
        found = [output.publication for output in self.queues if output.publication is not None]
        best = max(found, key=lambda one: one.progress.chunks, default=None)
        return list(best.latencies_ms) if best is not None else []

    def latency(self) -> dict[str, int]:
        """``median``, ``p95`` and ``last`` of ``latencies_ms``; empty while there are none."""
        latencies = self.latencies_ms
        ranked = sorted(latencies)
        if not ranked:
            return {}
        p95 = ranked[min(len(ranked) - 1, len(ranked) * 95 // 100)]
        return {"median": ranked[len(ranked) // 2], "p95": p95, "last": latencies[-1]}

    def lags(self) -> list[Mapping[str, Any]]:
        """For every output: ``output``, ``chunks``, ``error``, and ``lag_chunks`` and ``lag_ms`` behind the furthest output."""
        best = self.progress
        return [
            {
                "output": output.url,
                "chunks": output.progress.chunks,
                "lag_chunks": best.chunks - output.progress.chunks,
                "lag_ms": max(0, best.total_ms - output.progress.total_ms),
                "error": output.error,
            }
            for output in self.queues
        ]

    @property
    def refusal(self) -> str | None:
        """The error of the first output, if all outputs refuse."""
        errors = [output.error for output in self.queues if output.error]
        return errors[0] if len(errors) == len(self.queues) else None

    @property
    def fatal(self) -> Exception | None:
        """The error that ended the publishing for good. Being fenced out of one output means being fenced out of all."""
        for output in self.queues:
            if isinstance(output.fatal, FencedError):
                return output.fatal
        if all(output.fatal for output in self.queues):
            return self.queues[0].fatal
        return None

    @property
    def writable(self) -> set[str]:
        """Addresses of the outputs that accept writes at the moment."""
        return {output.url for output in self.queues if output.ready and output.error is None}

    @property
    def complete(self) -> list[str]:
        """Addresses of the outputs that have all of the finished broadcast."""
        return [output.url for output in self.queues if output.finished]

    @property
    def left_behind(self) -> dict[str, str]:
        """The other outputs, each with its error."""
        return {output.url: output.error or "it is behind" for output in self.queues if not output.finished}
