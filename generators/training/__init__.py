"""Training of the bundled models from the persona corpus; the commands are `auditkit train ...`."""
