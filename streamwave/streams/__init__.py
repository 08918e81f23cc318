"""The database of streams and their publishes, shared by the ingest service and the command line."""
