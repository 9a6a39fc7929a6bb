"""The dashboard's frame: `streamlit run main.py -- RUNS`, which `auditkit dashboard` does."""

from __future__ import annotations

import streamlit as st

from app.dashboard import access, state, widgets
from app.dashboard.views import VIEWS
from auditkit.errors import AuditkitError

# An icon of our own: Streamlit fetches those of its icon set from another host for a browser's tab.
ICON = """
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
  <rect width="32" height="32" rx="6" fill="#0B5394"/>
  <path d="M5 10h22M5 16h22M5 22h22" stroke="#9db9d6" stroke-width="2"/>
  <path d="M21 10h0M11 16h0M17 22h0" stroke="#fff" stroke-width="7" stroke-linecap="round"/>
</svg>
""".strip()
st.set_page_config(page_title="auditkit", page_icon=ICON, layout="wide")

pages = {
    view.path: st.Page(view.render, title=view.title, icon=view.icon, url_path=view.path, default=view is VIEWS[0])
    for view in VIEWS
}
state.set_pages(pages)
# Flat: sectioned navigation has accessibility faults upstream.
chosen = st.navigation(list(pages.values()))
try:
    access.gate()
    if not access.exports():
        st.html(widgets.NO_EXPORT)
    chosen.run()
except AuditkitError as error:
    widgets.problem(error)
