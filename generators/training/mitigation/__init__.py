"""Training the small parts that some mitigations need (auditkit.guidance.parts), on images of the model itself."""
