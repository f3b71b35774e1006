"""Tables: read CSV and Parquet into a polars frame, write columns as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from backlit.core.errors import DataError
from backlit.io.replace import Path, replaced

if TYPE_CHECKING:
    import polars

MISSING = frozenset({"", "NA", "N/A", "nan", "NaN", "null", "None", "?"})
_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_CHUNK_ROWS = 50_000  # rows held as Python strings at a time


def read_table(path: Path) -> polars.DataFrame:
    """A frame of the table in a .csv, .csv.gz, .tsv, .tsv.gz or .parquet file.

    Text files are UTF-8 with a header, fields quoted by `"`. Blanks around a field do not count, empty lines are passed
    over, and a column without a name is called after its position, `column_3`. A field that is empty or one of
    NA, N/A, nan, NaN, null, None, ? is missing. A column whose other fields are all whole numbers, numbers, or true and
    false (in any case) has that type, every other one is text. NaN in a Parquet file is missing too.

    Raises:
      DataError: polars is not installed; the file cannot be read, is of another kind or damaged, has no rows, rows of
        unequal length, or two columns of one name.
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise DataError(f"read_table: {name} does not exist")
    if os.path.isdir(name):
        raise DataError(f"read_table: {name} is a folder; name a file in it")
    pl = _polars()
    kind = next((end for end in (*_SEPARATORS, ".parquet") if name.lower().endswith(end)), None)
    try:
        if kind is None:
            raise DataError(f"read_table: {name} is none of {', '.join(_SEPARATORS)}, .parquet; rename or convert it")
        if kind == ".parquet":
            frame: polars.DataFrame = pl.read_parquet(name, glob=False)
        else:
            frame = _read_text(name, _SEPARATORS[kind])
    except pl.exceptions.PolarsError as error:
        raise DataError(f"read_table: {name} is damaged or no Parquet file: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"read_table: {name} is damaged or no gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"read_table: cannot read {name}: {error.strerror or error}") from error
    if frame.height == 0:
        raise DataError(f"read_table: {name} has a header but no rows")
    return frame.with_columns(pl.selectors.float().fill_nan(None))


def write_csv(columns: polars.DataFrame | Mapping[str, Sequence[Any]], path: Path) -> None:
    """Writes a frame, or columns by name, as CSV; `path` "-" is the standard output.

    Floats are written with the fewest digits that read back as the same value, None as an empty field. The file is
    replaced as a whole.

    Raises:
      DataError: the columns have unequal lengths, or the file cannot be written.
    """
    text = _columns_text(columns) if isinstance(columns, Mapping) else columns.write_csv()
    if path == "-":
        sys.stdout.write(text)
        return
    with replaced(path, "write_csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def _columns_text(columns: Mapping[str, Sequence[Any]]) -> str:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"write_csv: the columns have unequal lengths: {lengths}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _polars() -> Any:
    # polars is in the extra `table`: importing it with this file would make it needed for every `import backlit`.
    try:
        import polars
    except ImportError:
        raise DataError("read_table: reading tables needs polars; pip install 'backlit[table]'") from None
    return polars


def _read_text(name: str, separator: str) -> polars.DataFrame:
    pl = _polars()
    opened = gzip.open if name.lower().endswith(".gz") else open
    try:
        # newline="": a line end inside quotes belongs to its field.
        with opened(name, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            try:
                names = _header(name, reader)
                schema = dict.fromkeys(names, pl.String)
                rows = _rows(name, reader, len(names))
                frames = [pl.DataFrame(schema=schema)]
                while chunk := list(islice(rows, _CHUNK_ROWS)):
                    columns = dict(zip(names, zip(*chunk, strict=True), strict=True))
                    frames.append(pl.DataFrame(columns, schema=schema))
            except csv.Error as error:
                raise DataError(f"read_table: {name}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError:
        line = _undecodable_line(opened, name)
        raise DataError(f"read_table: {name}, line {line} is not UTF-8; save the file as UTF-8") from None
    frame: polars.DataFrame = pl.concat(frames)
    return frame.select(_typed(column) for column in frame)


def _header(name: str, reader: Iterator[list[str]]) -> list[str]:
    header = next((row for row in reader if row), None)
    if header is None:
        raise DataError(f"read_table: {name} is empty")
    names = [field.strip() or f"column_{i}" for i, field in enumerate(header, 1)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f"read_table: {name} has more than one column named {', '.join(map(repr, twice))}; rename them")
    return names


def _rows(name: str, reader: Any, n_columns: int) -> Iterator[list[str]]:
    for row in reader:
        if len(row) == n_columns:
            yield row
        elif row:
            raise DataError(
                f"read_table: {name}, line {reader.line_num}: expected {n_columns} fields as in the header, got {len(row)}"
            )


def _undecodable_line(opened: Any, name: str) -> int:
    with opened(name, "rb") as file:
        return next(number for number, line in enumerate(file, 1) if not _is_utf8(line))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _typed(text: polars.Series) -> polars.Series:
    """A column of strings as whole numbers, numbers, booleans or strings, with nulls for the markers."""
    pl = _polars()
    text = text.str.strip_chars()
    text = text.set(text.is_in(list(MISSING)), None)
    n_missing = text.null_count()
    if n_missing == len(text):
        return text
    lower = text.str.to_lowercase()
    if lower.is_in(["true", "false"]).sum() == len(text) - n_missing:
        return lower == "true"
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == n_missing:
            return numbers
    return text
