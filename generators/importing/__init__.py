"""Where the prompt of an imported image comes from: a CSV, a file beside it, or what a tool wrote into it.

Everything here reads strangers' files: sizes are capped, and what does not hold is a missing value, never a crash.
"""
