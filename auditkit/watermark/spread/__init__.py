"""The scheme `spread`: a keyed tile of sinusoids over the whole image, found again after crop, rotation and scale."""

from auditkit.watermark.spread.scheme import Spread

__all__ = ["Spread"]
