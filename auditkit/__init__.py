"""auditkit: trust-and-safety audits of text-to-image generators.

The verbs live in `app.api` and the modules beside it; they are looked up there by name when first used, so that
`import auditkit` stays light. That table of names is the only upward step in the tree.
"""

# Without `from __future__ import annotations`, whose name would hide the package auditkit.annotations.
import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "app.api": ("generate", "import_folder", "score", "measure", "compare", "audit"),
    "app.pages": ("report", "card", "export", "comparison_page"),
    "app.sampling": ("bench_samplers", "bench_energy"),
    "app.marks": ("embed_watermark", "detect_watermark", "identify_watermark", "root_watermark", "bench_watermark"),
    "app.finding": ("open_run", "list_runs"),
    "app.example": ("example",),
    "app.looking": ("list_generators", "model_card", "write_cards"),
    "app.detector_data": ("make_detector_pairs", "make_detector_data_alike", "audit_shortcuts"),
    "app.copies": ("index_copies", "calibrate_copies", "find_copies", "copies_page", "memorisation", "protect",
                   "calibrate_protected", "check_protected"),
    "app.forensics": ("camera_fingerprint", "match_camera", "jpeg_history"),
    "app.provenance": ("sign", "sign_folder", "sign_run", "inspect", "scan", "disclose", "make_pki"),
    "app.detection": ("train_detector", "detect", "list_detectors", "detector_card"),
    "app.detector_attacks": ("attack_detector",),
    "app.detector_evaluation": ("evaluate_detector",),
    "app.mitigating": ("mitigate",),
    "app.perturbations": ("check_perturbations", "simulate_perturbations", "perturbation_survival"),
}  # fmt: skip
_MODULES = {verb: module for module, verbs in _VERBS.items() for verb in verbs}

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604  (they are strings)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'auditkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
