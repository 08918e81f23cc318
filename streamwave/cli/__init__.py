"""The command ``streamwave``; its entry point is in ``start``."""
