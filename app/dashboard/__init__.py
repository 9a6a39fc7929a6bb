"""The dashboard: `main.py` is the frame, `views/` a file a view, `state.py` reads, `widgets.py` draws."""
