"""What marks survive: schemes and other tools' schemes through the same attacks on the same images, in one table.

The folder of a bench holds `results.parquet`, `quality.parquet` (see `summary`), `record.json` and the rows they were
made from in `parts/`. No key and no message is in it. A bench that was cut off goes on where it was, and a finished one
takes more schemes, images or attacks.
"""

from auditkit.watermark.bench.contestants import Marked
from auditkit.watermark.bench.run import run
from auditkit.watermark.bench.store import read_record, read_table

__all__ = ["Marked", "read_record", "read_table", "run"]
