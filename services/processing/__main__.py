"""``python -m services.processing``: the processing service until a signal.

SIGTERM and SIGINT end it and its flow runs in order. No frame is lost: what arrives meanwhile waits in the spool,
and the next start resumes every broadcast from its ledger. SIGHUP ends only the service and leaves the flow runs alone,
so that an upgrade does not interrupt the streams; the next start finds them alive and takes care of them again.
"""

from __future__ import annotations

import logging
import queue
import signal
import sys

from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError, tell
from streamwave.state.folders import close_state
from streamwave.util.logs import log_to_stderr
from streamwave.util.private import begin
from streamwave.util.trust import check_working_folder


def serve(settings: Settings, entrypoint: str | None = None) -> None:
    """Run the service in this, the main thread, until a signal.

    Raises:
        StreamWaveError: it cannot start; the message says what to do.
    """
    from services.processing.service import ENTRYPOINT, ProcessingService

    log = logging.getLogger("streamwave.processing")
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: signals.put(number))
    service = ProcessingService(settings, entrypoint or ENTRYPOINT)
    service.start()
    log.info("gRPC on %s:%d, spool %s", settings.grpc_host, service.port, settings.spool_dir)
    received = signals.get()
    leave = received == signal.SIGHUP
    log.info("%s: ending%s", signal.Signals(received).name, ", flow runs go on" if leave else " the flow runs")
    service.stop(leave=leave)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or the error's with one line that explains it. An argument names another flow (file:function)."""
    chosen = sys.argv[1:] if arguments is None else arguments
    begin()
    try:
        settings = Settings.load()
        check_working_folder()
        close_state(settings, make=True)
        log_to_stderr(settings.log_level, "streamwave")
        serve(settings, chosen[0] if chosen else None)
    except StreamWaveError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
