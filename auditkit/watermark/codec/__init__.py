"""The scheme `codec`: a learned encoder and decoder of 127 bits. Weights and their card are in `bundled/`."""

from auditkit.watermark.codec.scheme import Codec

__all__ = ["Codec"]
