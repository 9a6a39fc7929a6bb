"""Detectors of synthetic images. Their families register in the entry-point group `auditkit.detectors`."""
