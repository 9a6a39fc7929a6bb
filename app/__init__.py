"""What people start: the command line, the Python verbs and the dashboard."""
