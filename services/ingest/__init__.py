"""The ingest service (HTTP): decides who may publish, receives publishes into the spool, and manages streams."""
