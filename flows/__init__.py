"""The pipelines as Prefect flows."""
