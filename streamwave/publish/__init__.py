"""Publishing a broadcast: segments, manifests and ledger, to one output or several."""
