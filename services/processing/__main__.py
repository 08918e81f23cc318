"""``python -m services.processing``: runs the processing service until a signal.

SIGTERM and SIGINT end the service and its flow runs. No frame is lost: segmenters keep filling the spool, and the next
start resumes every broadcast from its ledger. SIGHUP ends the service but not the flow runs, so that an upgrade does not
interrupt streams; the next start supervises them again.
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
    """Run the service until a signal. Call from the main thread.

    Raises:
        StreamWaveError: the service cannot start; the message says what to do.
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
    log.info(
        "%s received: stopping%s",
        signal.Signals(received).name,
        ", flow runs continue" if leave else "",
    )
    service.stop(leave=leave)


def main(arguments: list[str] | None = None) -> int:
    """Run the service; the exit status. An argument names another flow to run (file:function)."""
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
