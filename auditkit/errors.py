"""Every error names what was wrong, where, and the command or change that mends it."""

from __future__ import annotations

from pathlib import Path


class AuditkitError(Exception):
    """Base of every error a user can meet.

    Args:
        what: one sentence that says what is wrong, in the user's words.
        where: the file, row, key or name at fault.
        mend: the command to run or the change to make.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, mend: str | None = None):
        self.what, self.where, self.mend = what, where, mend
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.mend is not None:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str | None]:
        """For `--json`: kind, what, where, mend."""
        where = None if self.where is None else str(self.where)
        return {"error": type(self).__name__, "what": self.what, "where": where, "mend": self.mend}


class SpecError(AuditkitError):
    """A run specification, prompt suite or target table that does not say what it must."""


class RunError(AuditkitError):
    """A run directory that is missing, incomplete, damaged or cannot be written."""


class TableError(AuditkitError):
    """A table with a missing column, a wrong type or a value out of range."""


class ImageError(AuditkitError):
    """A file that is not a readable image, or one too large to open safely."""


class PluginError(AuditkitError):
    """A generator, scorer or measure that is unknown or cannot be loaded."""


class EncoderError(AuditkitError):
    """A CLIP encoder that is unknown, damaged or cannot be loaded without the network."""


class EnergyError(AuditkitError):
    """A PUE or grid intensity that cannot be, or a record of energy that is damaged."""


class GeneratorError(AuditkitError):
    """A checkpoint that is missing, damaged or of a kind that cannot be used."""


class BudgetError(GeneratorError):
    """A ceiling of images or money is reached; what was paid for is kept, and the run can go on under a higher one."""


class DetectorError(AuditkitError):
    """A detector, its training data or its weights that are missing, damaged or do not fit together."""


class CalibrationError(AuditkitError):
    """A calibration that is missing, or too poor to correct an estimate with."""


class KeyFileError(AuditkitError):
    """A key file that is missing, damaged or open to others, or a key that it does not hold."""


class WatermarkError(AuditkitError):
    """An image, payload or scheme that a watermark cannot be put into or read from."""


class ProvenanceError(AuditkitError):
    """A file that cannot be signed or read, a manifest store, hash bank or log that is missing or damaged."""


class TrustError(AuditkitError):
    """Certificates, keys or trust lists that are missing, damaged, expired or do not belong together."""
