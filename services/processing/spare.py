"""A Python that has loaded Prefect and the flow's code already, and waits for the flow run that it shall execute.

Loading takes 2 to 3 seconds of CPU time, more while the machine transcodes: too long between StartStream and a running
flow run. The order is one line of JSON on standard input; without one (the service has ended) this process ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from pathlib import Path

from streamwave.private import begin


def main() -> int:
    """``python -m services.processing.spare ENTRYPOINT READY_FILE``."""
    begin()
    import prefect.flow_engine  # noqa: F401  what takes long
    from prefect.flows import load_flow_from_entrypoint

    # A flow that cannot be loaded says so when it is run, in its log and in Prefect's UI.
    with contextlib.suppress(Exception):
        load_flow_from_entrypoint(sys.argv[1], use_placeholder_flow=False)
    with contextlib.suppress(OSError):
        Path(sys.argv[2]).touch()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 0
    order = json.loads(line)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if order["log"]:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    os.environ["PREFECT__FLOW_RUN_ID"] = order["flow_run_id"]
    sys.argv = ["prefect.engine", order["flow_run_id"]]
    sys.modules.pop("prefect.engine", None)  # it is executed as the main program, as Prefect's own runner does
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
