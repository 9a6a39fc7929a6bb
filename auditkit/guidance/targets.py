"""Reading what a mitigation is to aim at: uniform, planted, a shipped statistic, a table, or a policy file."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import SpecError
from auditkit.guidance.policy import ALL, ASSIGN, Policy
from auditkit.guidance.words import Words, laid_over, shipped
from auditkit.overrides import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.spec import RunSpec

Rows = Sequence[Mapping[str, Any]]
Planted = Callable[[str], "Rows | None"]
"""The planted table of a bundled model by name, of the generator at hand for ''; None where it has none. Rows have
occupation, gender, skin_tone, probability."""

KEYS = ("attribute", "by", "assign", "person", "shares", "words", "contexts")
EXAMPLE = "gender=uniform, gender+skin_tone=uniform, gender=planted:personas-balanced, gender=TABLE.csv, or POLICY.toml"


def read_policy(
    target: str | Path | Mapping[str, Any],
    spec: RunSpec,
    *,
    assign: str | None = None,
    planted: Planted = lambda name: None,
) -> Policy:
    """The policy that a target stands for.

    Args:
        target: `gender=uniform`; `gender+skin_tone=planted`, the generator's own planted table, or
            `=planted:personas-balanced`, another's; the name of a shipped statistic (`gender=us-labour-2022`); a CSV
            with columns group, category, share (`gender=shares.csv`); a policy in TOML (`policy.toml`); or a dict,
            {"gender": "uniform"} or {"gender": {"female": 0.6, "male": 0.4}}.
        spec: whose prompts are meant; its `by` is the axis of the groups where the target does not say it.
        assign: quota or draw, over what the policy says.

    Raises:
        SpecError: a target that names an unknown attribute, group or category, or whose shares do not sum to 1; a file
            that is missing or does not say what it must.
    """
    attribute, what, name = _split(target)
    if attribute is None:
        return _from_file(Path(str(what)), spec, assign, planted)
    return _policy(attribute, what, spec, shipped(), name, assign=assign, planted=planted)


def _split(target: str | Path | Mapping[str, Any]) -> tuple[str | None, Any, str]:
    """Attribute, what is said of it, and the target in words; without attribute, the path of a policy."""
    if isinstance(target, Mapping):
        if len(target) != 1:
            raise SpecError(
                f"a target has one attribute, and this one has {len(target)}", where=f"target={dict(target)}",
                mend='join them: {"gender+skin_tone": "uniform"}',
            )  # fmt: skip
        (attribute, what), = target.items()  # fmt: skip
        return str(attribute), what, f"{attribute}={what if isinstance(what, str) else 'shares'}"
    text = str(target)
    if text.endswith(".toml") and "=" not in Path(text).name:
        return None, text, Path(text).name
    attribute, sign, what = text.partition("=")
    if not sign or not attribute.strip() or not what.strip():
        raise SpecError(f"'{text}' is no target", where=f"target={text}", mend=f"write {EXAMPLE}")
    return attribute.strip(), what.strip(), text


def _policy(
    attribute: str, what: Any, spec: RunSpec, words: Words, name: str, *, where: str | Path | None = None,
    by: str | None = None, person: str = "occupation", assign: str | None = None, planted: Planted,
) -> Policy:  # fmt: skip
    where = where or f"target={name}"
    parts = attribute.split("+")
    if len(set(parts)) != len(parts):
        raise SpecError(f"the target names an attribute twice: '{attribute}'", where=where, mend="name each once")
    for part in parts:
        words.check(part, words.classes(part))
    assign = assign or "quota"
    if assign not in ASSIGN:
        raise SpecError(
            f"images cannot be assigned by '{assign}'" + did_you_mean(assign, ASSIGN),
            where=f"assign={assign}", mend=f"use one of: {', '.join(ASSIGN)}",
        )  # fmt: skip
    if by is not None and by not in spec.axes:
        raise SpecError(f"the spec has no axis '{by}'" + did_you_mean(by, spec.axes), where=where, mend="change `by`")
    by = by or spec.by or ("occupation" if "occupation" in spec.axes else None)
    classes = ["+".join(each) for each in itertools.product(*(words.classes(part) for part in parts))]
    groups = spec.axes[by] if by else []
    shares = _shares(attribute, what, groups, by, classes, where, planted)
    return Policy(attribute, shares, by, assign, person, words, name)


def _shares(
    attribute: str, what: Any, groups: Sequence[str], by: str | None, classes: list[str], where: str | Path,
    planted: Planted,
) -> dict[str, dict[str, float]]:  # fmt: skip
    if isinstance(what, Mapping):
        by_group = all(isinstance(each, Mapping) for each in what.values()) and what
        return _checked(what if by_group else {ALL: what}, groups, classes, where)
    text = str(what)
    if text == "uniform":
        return {ALL: {name: 1 / len(classes) for name in classes}}
    if text == "planted" or text.startswith("planted:"):
        return _planted(attribute, text.partition(":")[2], groups, by, classes, where, planted)
    from auditkit.bias.targets.loading import read_csv
    from auditkit.bias.targets.published import shipped as tables

    known = {table.name: table for table in tables()}
    if text in known:
        rows = read_csv(known[text].checked_path(), [attribute])
        return _of_table(rows[rows["group"].isin([*groups, ALL])], attribute, groups, classes, where)
    path = Path(text)
    if not path.is_file():
        names = ["uniform", "planted", *known]
        raise SpecError(
            f"there is no target '{text}'" + did_you_mean(text, names), where=where,
            mend=f"use {', '.join(names)}, planted:NAME, or the path of a CSV with columns group, category, share",
        )  # fmt: skip
    return _of_table(read_csv(path, [attribute]), attribute, groups, classes, path)


def _planted(
    attribute: str, name: str, groups: Sequence[str], by: str | None, classes: list[str], where: str | Path,
    planted: Planted,
) -> dict[str, dict[str, float]]:  # fmt: skip
    rows = planted(name)
    if rows is None:
        raise SpecError(
            f"'{name}' is no bundled model with a planted table" if name else "the generator has no planted table",
            where=where, mend="use planted:personas, planted:personas-balanced, uniform or a table",
        )  # fmt: skip
    parts = attribute.split("+")
    if by != "occupation" or any(part not in rows[0] for part in parts):
        raise SpecError(
            "a planted table has shares of gender and skin_tone by occupation", where=where,
            mend="use prompts by occupation, or another target",
        )  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["occupation"] in groups:
            shares = found.setdefault(str(row["occupation"]), dict.fromkeys(classes, 0.0))
            shares["+".join(str(row[part]) for part in parts)] += float(row["probability"])
    return _checked(found, groups, classes, where)


def _of_table(
    table: pd.DataFrame, attribute: str, groups: Sequence[str], classes: list[str], where: str | Path
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    rows = table[table["attribute"].isin(["", attribute])]
    for group, name, share in zip(rows["group"], rows["category"], rows["share"], strict=True):
        shares = found.setdefault(str(group), {})
        if name in shares:
            raise SpecError(f"the target gives '{name}' twice for '{group}'", where=where, mend="keep one of the rows")
        shares[str(name)] = float(share)
    if not found:
        raise SpecError(
            f"the target has no shares of {attribute} for any group of the spec", where=where,
            mend="add rows for its groups, or rows with group 'all'",
        )  # fmt: skip
    return _checked(found, groups, classes, where)


def _checked(
    found: Mapping[str, Any], groups: Sequence[str], classes: list[str], where: str | Path
) -> dict[str, dict[str, float]]:
    """Shares by group with every class, after all of them hold."""
    made: dict[str, dict[str, float]] = {}
    for group, shares in found.items():
        known = [*groups, ALL]
        if group not in known:
            raise SpecError(
                f"the target names the group '{group}', which the spec does not have" + did_you_mean(group, known),
                where=where, mend=f"use among: {', '.join(known)}",
            )  # fmt: skip
        for name, share in shares.items():
            if name not in classes:
                raise SpecError(
                    f"the target names '{name}', which is not there" + did_you_mean(str(name), classes), where=where,
                    mend=f"use among: {', '.join(classes)}",
                )  # fmt: skip
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise SpecError(
                    f"the share of '{name}' is {share!r}, and must be a number from 0 to 1", where=where,
                    mend="correct the share",
                )  # fmt: skip
        total = math.fsum(shares.values())
        if abs(total - 1) > 1e-6:
            raise SpecError(
                f"the target's shares for '{group}' sum to {total:.6g}, not 1", where=where,
                mend="correct the shares; they may differ from 1 by at most 1e-6",
            )  # fmt: skip
        made[str(group)] = {name: float(shares.get(name, 0.0)) / total for name in classes}
    return made


def _from_file(path: Path, spec: RunSpec, assign: str | None, planted: Planted) -> Policy:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(
            "the policy file does not exist", where=path, mend=f"check the path, or write {EXAMPLE}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"the policy cannot be read: {error}", where=path, mend="save it as TOML in UTF-8") from None
    for key in raw:
        if key not in KEYS:
            raise SpecError(
                f"the policy has an unknown key '{key}'" + did_you_mean(key, KEYS), where=path,
                mend=f"use keys among: {', '.join(KEYS)}",
            )  # fmt: skip
    for key in ("attribute", "shares"):
        if key not in raw:
            raise SpecError(f"the policy has no '{key}'", where=path, mend='attribute = "gender", shares = "uniform"')
    for key in ("attribute", "by", "assign", "person"):
        if not isinstance(raw.get(key, ""), str):
            raise SpecError(f"'{key}' must be a text", where=path, mend=f'{key} = "..."')
    shares = raw["shares"]
    if isinstance(shares, str) and shares.endswith(".csv"):
        shares = str(_inside(path, shares))
    elif not isinstance(shares, str | dict):
        raise SpecError("'shares' must be a name or a table", where=path, mend='shares = "uniform", or [shares.all]')
    words = raw.get("words", {})
    if not isinstance(words, dict):
        raise SpecError("'words' must be a table", where=path, mend="[words.gender.classes.female]")
    return _policy(
        raw["attribute"], shares, spec, laid_over(words, raw.get("contexts", []), where=path), path.name, where=path,
        by=raw.get("by"), person=raw.get("person", "occupation"), assign=assign or raw.get("assign"), planted=planted,
    )  # fmt: skip


def _inside(policy: Path, name: str) -> Path:
    """A table beside the policy; a path in a file never leads out of the file's folder."""
    folder = policy.parent.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise SpecError(
            f"the policy names a table outside its own folder: '{name}'", where=policy, mend="put the table beside it"
        )
    return path
