"""`python -m app` is `auditkit`."""

from app.cli import main

main()
