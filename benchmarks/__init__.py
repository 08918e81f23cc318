"""Benchmarks: StreamWave's cost relative to a reference measured at the same time; ``python -m benchmarks`` or ``make
bench``.
"""
