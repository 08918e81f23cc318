"""One stream on several machines: workers encode its chunks, which they receive through a Dask scheduler."""
