"""Traces of an image's history: the sensor that took it, and the JPEG compressions that it went through.

They say where an image has been, not whether a generator made it: a photograph may have any of them or none, and so
may a generated image.
"""
