"""What StreamWave costs, as ratios against a reference that runs beside it: ``python -m benchmarks`` or ``make bench``."""
