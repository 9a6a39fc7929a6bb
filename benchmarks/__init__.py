"""Timings behind the documentation's figures; each module is a command: `python -m benchmarks.generate`."""
