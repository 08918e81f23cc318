"""The ingest service (HTTP): decides who may publish, receives each publish into the spool, manages the streams."""
