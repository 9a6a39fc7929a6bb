"""Bias measures: from scores and targets to measurements."""
