"""The end of a broadcast at several outputs: the first one that is complete, and how long the others are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streamwave.errors import OutputError
from streamwave.publish.standing import Standing


class Completion:
    """Waits until the outputs of ``standing``, which ``changed`` guards, are complete; at most ``patience_s`` after the end."""

    def __init__(self, standing: Standing, changed: threading.Condition, patience_s: float) -> None:
        self._standing, self._changed, self._patience_s = standing, changed, patience_s
        self._began_at = 0.0
        #: The broadcast has ended: outputs that have all chunks write their static manifests.
        self.begun = False
        self.hurried = False

    @property
    def patience_left_s(self) -> float:
        """How much longer outputs that are behind are waited for, in seconds."""
        return max(0.0, self._began_at + self._patience_s - time.monotonic())

    def hurry(self) -> None:
        """Stop waiting for outputs that are behind. A signal handler may call it."""
        self.hurried = True

    def wait_for_first(self) -> None:
        """Begin, and wait until one output is complete.

        Raises:
            OutputError: all outputs have refused for longer than the patience.
            FencedError: another run publishes this broadcast now.
        """
        self._began_at = time.monotonic()
        self.begun = True
        with self._changed:
            while not any(output.finished for output in self._standing.queues):
                if (fatal := self._standing.fatal) is not None:
                    raise fatal
                if not self.patience_left_s and (refusal := self._standing.refusal):
                    raise OutputError(refusal)
                self._changed.wait(0.2)

    def wait_for_others(
        self, limit_s: float, meanwhile: Callable[[], None] = lambda: None, *, until_tried: bool = True
    ) -> bool:
        """Wait until all outputs are complete, or ``limit_s`` have passed since the end; whether all are complete.

        With ``until_tried``, an output that has reported no error may take longer. ``meanwhile`` is called several times a
        second. ``hurry`` ends the waiting.

        Raises:
            FencedError: another run publishes this broadcast now.
        """
        queues = self._standing.queues
        while True:
            with self._changed:
                if all(output.finished for output in queues):
                    return True
                if (fatal := self._standing.fatal) is not None:
                    raise fatal
                tried = not until_tried or all(output.finished or output.error for output in queues)
                if self.hurried or (tried and self._is_over(limit_s)):
                    return False
                self._changed.wait(0.2)
            meanwhile()

    def _is_over(self, limit_s: float) -> bool:
        settled = all(output.finished or output.fatal for output in self._standing.queues)
        return settled or time.monotonic() >= self._began_at + limit_s
