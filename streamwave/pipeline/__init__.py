"""A session on its way through the pipeline, without any orchestration."""
