"""The families of detectors, one file each; see `detectors.base.Family`. Found by the entry points
`auditkit.detector_families`, so that a plugin's family is trained, tested and asked like those here."""
