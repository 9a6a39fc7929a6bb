"""Figures of one accelerator, taken in one run: `python -m benchmarks.accelerator --help`."""
