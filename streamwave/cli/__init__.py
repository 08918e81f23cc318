"""The command ``streamwave``; ``start`` is where it begins."""
