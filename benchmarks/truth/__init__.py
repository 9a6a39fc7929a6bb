"""The known-truth bench: audits composed of drawings whose labels are known, to see which estimators hold.

`auditkit bench truth` runs it; docs/measurement.md shows its table.
"""
