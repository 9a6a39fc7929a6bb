"""A run's images and scores, asked in SQL by DuckDB: of 100,000 rows only those that are shown come into memory.

Parquet stays the truth: nothing is copied, and each question reads the columns that it needs. DuckDB may read the
folders that it was opened for and nothing else; it fetches no extension. What a reader types is a parameter of a query
or a name that is looked up in the table's own columns, never part of its text.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import AuditkitError, TableError
from auditkit.runs import Run
from auditkit.schemas import IMAGES, SCORES, table_columns

Positions = NDArray[np.int64]
"""Rows of the images table, by their number in it."""

PROMPTED, UNSURE, SURE = "prompt", "unsure", "sure"
PEOPLE = ("gender", "skin_tone", "age")
MEMORY = "256MB"
"""What DuckDB may take; it works in pieces beyond that."""


@dataclass(frozen=True)
class Wish:
    """Which images, and in which order.

    Attributes:
        axes: by axis, the values that pass. labels: by key ('gender@personas-clip'), the labels that pass.
        prompt: text that the prompt holds, in any case. seed: of the image.
        of: the key whose certainty counts. certainty: from, to. order: PROMPTED, UNSURE or SURE.
    """

    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prompt: str = ""
    seed: int | None = None
    of: str = ""
    certainty: tuple[float, float] = (0.0, 1.0)
    order: str = PROMPTED


class Index:
    """One run's tables. Any number of threads may ask.

    Raises:
        RunError: the run is not complete. TableError: its images table is damaged, of a newer version, or lacks a
        column. Scores that cannot be read are left out, and say why in `problems`.
    """

    def __init__(self, run: Run):
        self.run = run
        self.axes = run.axes
        self.problems: list[AuditkitError] = []
        self._scores: dict[str, str] = {}
        """By key, the name of its view."""
        self._files: dict[str, Path] = {}
        self._columns: dict[str, list[str]] = {}
        file = run.path / "images.parquet"
        self._images = [*table_columns(file, IMAGES)]
        self._connection = connect(run.path)
        _view(self._connection, "images", file, row_numbers=True)
        self.n_images = int(self._one("select count(*) from images"))
        for number, file in enumerate(sorted((run.path / "scores").glob("*.parquet"))):
            try:
                self._add_scores(f"scores_{number}", file)
            except AuditkitError as error:
                self.problems.append(error)

    @property
    def keys(self) -> list[str]:
        """Of the scores: 'gender@personas-clip'."""
        return list(self._scores)

    def people_first(self) -> list[str]:
        """The keys, those of how people are presented before the others."""
        rank = {name: number for number, name in enumerate(PEOPLE)}
        return sorted(self._scores, key=lambda key: rank.get(key.split("@")[0], len(rank)))

    @cached_property
    def n_prompts(self) -> int:
        return int(self._one("select count(distinct prompt_id) from images"))

    @cached_property
    def axis_values(self) -> dict[str, list[str]]:
        """By axis, the values that images have, in order."""
        made = {}
        for axis in self.axes:
            column = _name(f"axis_{axis}")
            made[axis] = self._all(f"select distinct {column} from images where {column} is not null order by 1")
        return made

    def classes(self, key: str) -> list[str]:
        """The scorer's classes in their own order, then `unknown`."""
        return [*(name.removeprefix("p_") for name in self._posteriors(key)), "unknown"]

    def choose(self, wish: Wish) -> Positions:
        """The images that pass, in the order asked for."""
        joins: list[str] = []
        where: list[str] = []
        given: list[Any] = []
        for axis in wish.axes:
            if axis in self.axes and wish.axes[axis]:
                where.append(f"list_contains(?, images.{_name(f'axis_{axis}')})")
                given.append(list(wish.axes[axis]))
        needed = {key for key in wish.labels if wish.labels[key]}
        measured = wish.of in self._scores and (wish.certainty != (0.0, 1.0) or wish.order != PROMPTED)
        if measured:
            needed.add(wish.of)
        views = {key: self._scores[key] for key in sorted(needed) if key in self._scores}
        for key, view in views.items():
            joins.append(f"join {view} on {view}.id = images.id")
            if wish.labels.get(key):
                where.append(f"list_contains(?, {view}.label)")
                given.append(list(wish.labels[key]))
        if wish.prompt:
            where.append("contains(lower(images.prompt), lower(?))")
            given.append(wish.prompt)
        if wish.seed is not None:
            where.append("images.seed = ?")
            given.append(wish.seed)
        order = "1"
        if measured:
            view = views[wish.of]
            if wish.certainty != (0.0, 1.0):
                where.append(f"{view}.confidence between ? and ?")
                given += wish.certainty
            if wish.order != PROMPTED:
                order = f"{view}.confidence {'asc' if wish.order == UNSURE else 'desc'} nulls last, 1"
        text = f"select images.file_row_number from images {' '.join(joins)}"
        text += f" where {' and '.join(where)}" if where else ""
        return self._numbers(f"{text} order by {order}", given)

    def repeated(self) -> Positions:
        """Images whose bytes come up again in the run."""
        again = "select id from images group by id having count(*) > 1"
        return self._numbers(f"select file_row_number from images where id in ({again}) order by id, 1")

    def rows(self, positions: Sequence[int] | Positions, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Those images, in that order: their columns, `position`, and for each of `keys` the label under
        'gender@personas-clip' and its certainty under 'gender@personas-clip confidence'."""
        wanted = [int(each) for each in positions]
        found = self._frame(
            "select * exclude file_row_number, file_row_number as position from images "
            "where list_contains(?, file_row_number)",
            [wanted],
        )
        for key in keys:
            text = f"select id, label, confidence from {self._scores[key]} where list_contains(?, id)"
            scored = self._frame(text, [list(found["id"])]).set_index("id")
            found[key] = found["id"].map(scored["label"])
            found[f"{key} confidence"] = found["id"].map(scored["confidence"])
        place = {position: number for number, position in enumerate(wanted)}
        found = found.assign(order=found["position"].map(place)).sort_values("order").drop(columns="order")
        return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]

    def find(self, id: str) -> Positions:
        """Where the image of that id stands: several times where the generator returned it several times."""
        return self._numbers("select file_row_number from images where id = ? order by 1", [id])

    def column(self, name: str) -> pd.Series:
        """One column of the images table, or a key's labels, a value for each image in the table's order."""
        if name in self._scores:
            view = self._scores[name]
            text = f"select label as value from images left join {view} using (id) order by images.file_row_number"
        elif name in self._images:
            text = f"select {_name(name)} as value from images order by file_row_number"
        else:
            raise KeyError(name)
        return self._frame(text)["value"]

    def distinct(self, columns: Sequence[str]) -> pd.DataFrame:
        """Those columns of the images table, each image id once."""
        kept = ", ".join(_name(name) for name in columns if name in self._images)
        text = f"select {kept} from images qualify row_number() over (partition by id order by file_row_number) = 1"
        return self._frame(f"{text} order by file_row_number")

    def scored(self, key: str, id: str) -> dict[str, Any] | None:
        """All that a scorer says of an image, with its posteriors; None where it says nothing."""
        found = self._frame(f"select * from {self._scores[key]} where id = ?", [id])
        return None if found.empty else {str(name): value for name, value in found.iloc[0].to_dict().items()}

    def about(self, table: str, id: str) -> list[dict[str, Any]]:
        """The rows on an image of the run's table of that name, `watermarks`, `provenance` or `detections`."""
        file = self.run.path / f"{table}.parquet"
        if table not in ("watermarks", "provenance", "detections") or not file.is_file():
            return []
        found = self._frame("select * from read_parquet(?) where id = ?", [glob.escape(str(file.resolve())), id])
        return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]

    def pairs(
        self, other: Index, key: str = "", *, axis: str = "", groups: Sequence[str] = (), changed: bool = False
    ) -> list[tuple[int, int]]:
        """Images of this run and of another that share prompt and replicate, by their positions.

        Args:
            key: the scores that `changed` is about, which both runs have. axis, groups: the values that pass.
            changed: only pairs whose labels differ.

        Raises:
            TableError: a table of either run cannot be asked.
        """
        connection = connect(self.run.path, other.run.path)
        where, given, joins = [], [], ""
        for side, index in (("a", self), ("b", other)):
            _view(connection, f"{side}_images", index.run.path / "images.parquet", row_numbers=True)
            if changed:
                _view(connection, f"{side}_scores", index._files[key])
                joins += f" join {side}_scores on {side}_scores.id = {side}_images.id"
        if changed:
            where.append("a_scores.label != b_scores.label")
        if groups and axis in self.axes:
            where.append(f"list_contains(?, a_images.{_name(f'axis_{axis}')})")
            given.append(list(groups))
        text = (
            "select a_images.file_row_number, b_images.file_row_number from a_images join b_images "
            f"on a_images.prompt = b_images.prompt and a_images.replicate = b_images.replicate{joins}"
        )
        text += f" where {' and '.join(where)}" if where else ""
        found = ask(connection, f"{text} order by 1, 2", given, where=self.run.path).fetchall()
        return [(int(a), int(b)) for a, b in found]

    def _add_scores(self, view: str, file: Path) -> None:
        self._columns[view] = table_columns(file, SCORES)
        _view(self._connection, view, file)
        first = self._frame(f"select scorer, encoder from {view} limit 1")
        key = f"{first['scorer'].iloc[0]}@{first['encoder'].iloc[0]}" if len(first) else file.stem
        if key.count("@") != 1 or key in self._scores:
            raise TableError(
                f"the scores are not of one scorer and encoder of their own: '{key}'", where=file,
                mend="score the run again, and delete the file",
            )  # fmt: skip
        self._scores[key], self._files[key] = view, file

    def _posteriors(self, key: str) -> list[str]:
        return [name for name in self._columns[self._scores[key]] if name.startswith("p_")]

    def _ask(self, text: str, given: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        return ask(self._connection, text, given, where=self.run.path)

    def _one(self, text: str, given: Sequence[Any] = ()) -> Any:
        row = self._ask(text, given).fetchone()
        assert row is not None
        return row[0]

    def _all(self, text: str, given: Sequence[Any] = ()) -> list[Any]:
        return [row[0] for row in self._ask(text, given).fetchall()]

    def _numbers(self, text: str, given: Sequence[Any] = ()) -> Positions:
        found = self._ask(text, given).fetchnumpy()
        return np.asarray(next(iter(found.values())), np.int64)

    def _frame(self, text: str, given: Sequence[Any] = ()) -> pd.DataFrame:
        return self._ask(text, given).df()


def connect(*folders: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, which may read those folders and nothing else."""
    made = duckdb.connect()
    # Paths are patterns to DuckDB, and it holds both the pattern and the file against this list.
    names = [name for folder in folders for name in (str(folder.resolve()), glob.escape(str(folder.resolve())))]
    allowed = ", ".join("'" + name.replace("'", "''") + "/'" for name in dict.fromkeys(names))
    for text in (
        "set autoinstall_known_extensions = false", "set autoload_known_extensions = false",
        f"set memory_limit = '{MEMORY}'", "set temp_directory = ''", "set threads = 2",
        f"set allowed_directories = [{allowed}]", "set enable_external_access = false", "set lock_configuration = true",
    ):  # fmt: skip
        made.execute(text)
    return made


def _view(connection: duckdb.DuckDBPyConnection, name: str, file: Path, *, row_numbers: bool = False) -> None:
    path = glob.escape(str(file.resolve())).replace("'", "''")
    more = ", file_row_number = true" if row_numbers else ""
    ask(connection, f"create view {name} as select * from read_parquet('{path}'{more})", where=file)


def ask(
    connection: duckdb.DuckDBPyConnection, text: str, given: Sequence[Any] = (), *, where: Path
) -> duckdb.DuckDBPyConnection:
    """The answer, on a cursor of its own: sessions are threads.

    Raises:
        TableError: a table cannot be read, or a column has another type than it should have.
    """
    try:
        return connection.cursor().execute(text, list(given))
    except duckdb.Error as error:
        raise TableError(
            f"a table of the run cannot be asked: {str(error).splitlines()[0]}", where=where,
            mend="auditkit verify-run says which; delete that table and run the step that makes it again",
        ) from error  # fmt: skip


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
