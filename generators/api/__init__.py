"""Generators behind an HTTP API: asked politely, paid for once, and every answer kept as it came."""

from generators.api.generator import ApiGenerator
from generators.api.options import ApiOptions

__all__ = ["ApiGenerator", "ApiOptions"]
