"""Watermark fingerprints: keys and payloads, schemes, verdicts with exact p-values, attacks and their curves."""
