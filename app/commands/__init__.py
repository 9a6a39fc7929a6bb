"""The command line's verbs, a file a theme; `app.cli` mounts them."""
