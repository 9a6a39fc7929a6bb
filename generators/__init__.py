"""Generators: what turns prompts and seeds into images (bundled, any diffusers checkpoint, image folders).

`load.load_generator` finds one by name, `make.generate` makes a run with it. Families register in the
entry-point group `auditkit.generators`: a function that takes `device=` and returns a `base.Generator`.
"""
