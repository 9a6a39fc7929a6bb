"""Labels by people: random samples of a run, what raters said of them, how far they agree.

    samples.jsonl      one line a sample: attribute, classes, how it was drawn, ids, inclusion probabilities
    annotations.jsonl  one line a label: sample, id, attribute, label, rater, time

Both are append-only and lie in the run, so that its seal holds them.
"""

from auditkit.annotations.agreeing import Adjudication, RaterAgreement, adjudicate, adjudicated, agreement
from auditkit.annotations.exporting import Export, draw, export, order
from auditkit.annotations.importing import Imported, annotate, import_csv
from auditkit.annotations.records import NOBODY, UNKNOWN, Annotation, Sample, ratings, samples

__all__ = [
    "NOBODY",
    "UNKNOWN",
    "Adjudication",
    "Annotation",
    "Export",
    "Imported",
    "RaterAgreement",
    "Sample",
    "adjudicate",
    "adjudicated",
    "agreement",
    "annotate",
    "draw",
    "export",
    "import_csv",
    "order",
    "ratings",
    "samples",
]
