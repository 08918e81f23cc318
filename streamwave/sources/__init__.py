"""Which sources may be opened, and which hosts they may be fetched from."""
