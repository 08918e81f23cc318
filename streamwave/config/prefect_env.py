"""Environment variables for Prefect's server and for processes that run flows. Importing this module loads nothing else."""

from __future__ import annotations

from collections.abc import Mapping

#: Server settings for many short task runs (see docs/decisions/0003-prefect-settings.md).
SERVER_ENV: Mapping[str, str] = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P1D",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}

#: Settings for every process that runs our flows.
CLIENT_ENV: Mapping[str, str] = {
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "false",
    "PREFECT_EVENTS_WORKER_MAX_QUEUE_SIZE": "50000",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

#: File in STREAMWAVE_STATE_DIR that exists while the processing service has loaded everything it needs to start a flow run.
READY_FILE = "processing.ready"
