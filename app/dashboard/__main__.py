"""`python -m app.dashboard`: Streamlit's own command line, once what every view needs has been imported.

Streamlit imports a script's modules when its first visitor comes. Done before it listens, nobody waits for them.
"""

from __future__ import annotations

import streamlit.net_util
import streamlit.web.cli

import app.dashboard.views.bias
import app.dashboard.views.gallery
import app.dashboard.views.home
import app.dashboard.views.image  # noqa: F401

if __name__ == "__main__":
    # It would ask another host for this machine's address whenever a page of a foreign origin connects.
    streamlit.net_util.get_external_ip = lambda: None
    streamlit.web.cli.main(prog_name="streamlit")
