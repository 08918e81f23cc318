"""The pipeline without orchestration: from received chunks to published segments."""
