"""Which sources may be opened, and from which hosts they may be fetched."""
