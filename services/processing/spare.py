"""A Python that has loaded Prefect and the flow's code already, and waits for the flow run that it shall execute.

Loading takes 2 to 3 seconds of CPU time, more while the machine transcodes: too long between StartStream and a running
flow run. The order is one line of JSON on standard input; without one (the service has ended) this process ends too.

What is executed is the flow of this installation. ``python -m prefect.engine`` would load it as the deployment at Prefect's
server says, whose pull steps and entrypoint everybody may change who may write to its API.
"""

from __future__ import annotations

import contextlib
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
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow_run, run_flow
    from prefect.flows import Flow, load_flow_from_entrypoint
    from prefect.logging.loggers import flow_run_logger

    flow: Flow[..., Any] | None = None
    # A flow that cannot be loaded says so when it is run, in its log and in Prefect's UI.
    with contextlib.suppress(Exception):
        flow = load_flow_from_entrypoint(sys.argv[1], use_placeholder_flow=False)
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
            logger.error("the flow %s cannot be loaded", sys.argv[1], exc_info=True)
            raise
        # Prefect, too, passes its adapter for a logger.
        run_flow(flow, flow_run=flow_run, error_logger=logger)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
