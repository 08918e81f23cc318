"""Publishing a broadcast to one or several outputs: segments, manifests and ledger."""
