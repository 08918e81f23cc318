"""Streams and who publishes to them, in a database: what the ingest service and the command line share."""
