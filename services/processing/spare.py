"""A process that has already imported Prefect and the flow, and waits for a flow run to execute.

The imports take 2 to 3 seconds of CPU time, more while the machine transcodes: too long between StartStream and a running
flow. The flow run arrives as one line of JSON on standard input; if standard input closes (the service has ended), this
process exits.

It runs the flow of this installation. ``python -m prefect.engine`` would run whatever pull steps and entrypoint the
deployment at Prefect's server names, and anybody who can write to the API can change those.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from streamwave.util.private import begin


def main() -> int:
    """``python -m services.processing.spare ENTRYPOINT READY_FILE``."""
    begin()
    gc.disable()  # looking for garbage among what is loaded and stays takes a tenth of the time
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow_run, run_flow
    from prefect.flows import Flow, load_flow_from_entrypoint
    from prefect.logging.loggers import flow_run_logger

    flow: Flow[..., Any] | None = None
    # If the import fails, it is repeated for the flow run, whose log and Prefect's UI then show the error.
    with contextlib.suppress(Exception):
        flow = load_flow_from_entrypoint(sys.argv[1], use_placeholder_flow=False)
    gc.freeze()
    gc.enable()
    with contextlib.suppress(OSError):
        Path(sys.argv[2]).touch()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 0
    order = json.loads(line)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if order["log"]:
        from streamwave.util.logs import ShortLog

        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        ShortLog(Path(order["log"]))
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    os.environ["PREFECT__FLOW_RUN_ID"] = order["flow_run_id"]
    flow_run_id = UUID(order["flow_run_id"])
    with handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        logger = flow_run_logger(flow_run)
        try:
            flow = flow or load_flow_from_entrypoint(sys.argv[1], use_placeholder_flow=False)
        except Exception:
            logger.error("cannot load the flow %s", sys.argv[1], exc_info=True)
            raise
        # Prefect passes the same adapter here, although the parameter is annotated as a Logger.
        run_flow(flow, flow_run=flow_run, error_logger=logger)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
