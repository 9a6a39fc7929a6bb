"""The JSON Schema (2020-12) of a report's data, `measurements.json`: taken from the table's own schema."""

from __future__ import annotations

from typing import Any

from auditkit.schemas import MEASUREMENTS, SCHEMA_VERSION

KIND = "auditkit.report"
_TYPES = {"str": "string", "int64": "integer", "float64": "number", "object": "string"}


def schema() -> dict[str, Any]:
    """What every `measurements.json` of this version holds; a number that is not known is null."""
    columns = {name: _column(column) for name, column in MEASUREMENTS.columns.items()}
    required = [name for name, column in MEASUREMENTS.columns.items() if column.required]
    row = {"type": "object", "properties": columns, "required": required, "additionalProperties": False}
    withheld = {"properties": {"status": {"const": "insufficient"}}}
    silent = {"if": withheld, "then": {"properties": {"estimate": {"type": "null"}}}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of an audit by auditkit",
        "type": "object",
        "properties": {
            "kind": {"const": KIND},
            "schema_version": {"const": SCHEMA_VERSION},
            "run_id": {"type": "string"},
            "summary": {"type": "array", "items": {"type": "string"}, "description": "The findings as sentences."},
            "provenance": {"type": "object", "description": "run.json: what was made, how, with what."},
            "measurements": {
                "type": "array",
                "items": row | silent,
                "description": "A row for each estimate. Shares are from 0 to 1; intervals are at 95%.",
            },
        },
        "required": ["kind", "schema_version", "run_id", "summary", "provenance", "measurements"],
        "additionalProperties": False,
    }


def _column(column: Any) -> dict[str, Any]:
    kind = next(found for name, found in _TYPES.items() if str(column.dtype).startswith(name))
    told: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    for check in column.checks:
        given = check.statistics or {}
        if "allowed_values" in given:
            told["enum"] = list(given["allowed_values"])
        if "min_value" in given:
            told["minimum"] = given["min_value"]
        if "max_value" in given:
            told["maximum"] = given["max_value"]
    return told
