"""StreamWave: chunks, seams, timelines, manifests and their publishing. No Prefect and no server code in here."""

__version__ = "0.1.0"
