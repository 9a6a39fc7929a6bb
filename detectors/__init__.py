"""Detectors of synthetic images: trained on one's own, tested on what they have not seen, honest about the rest.

Ready detectors register in the entry-point group `auditkit.detectors`, the families that they are trained from in
`auditkit.detector_families`.
"""
