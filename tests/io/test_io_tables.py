import builtins
import gzip
import math
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from backlit.core.errors import DataError
from backlit.io import read_table, write_csv


def zipped(contents):
    return gzip.compress(contents, mtime=0)  # the same bytes, hence test names, in every process


@pytest.fixture
def table(tmp_path):
    """Writes bytes or text under a name, and gives the path."""

    def make(contents, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        return path

    return make


def columns(path):
    frame = read_table(path)
    return {name: (str(frame[name].dtype), frame[name].to_list()) for name in frame.columns}


def test_columns_get_the_type_that_all_their_values_have(table):
    path = table("i,f,b,s,mixed\n1,1.5,true,x,1\n-2,2,False,y,two\n+3,1e3,TRUE,7,3\n")
    assert columns(path) == {
        "i": ("Int64", [1, -2, 3]),
        "f": ("Float64", [1.5, 2.0, 1000.0]),
        "b": ("Boolean", [True, False, True]),
        "s": ("String", ["x", "y", "7"]),
        "mixed": ("String", ["1", "two", "3"]),
    }


@pytest.mark.parametrize("marker", ["", "NA", "N/A", "nan", "NaN", "null", "None", "?", '""', " ", " NA "])
def test_missing_markers(marker, table):
    path = table(f"a,b,c,d\n1,1.5,x,true\n{marker},{marker},{marker},{marker}\n2,2.5,y,false\n")
    assert columns(path) == {
        "a": ("Int64", [1, None, 2]),
        "b": ("Float64", [1.5, None, 2.5]),
        "c": ("String", ["x", None, "y"]),
        "d": ("Boolean", [True, None, False]),
    }


def test_a_word_that_contains_a_marker_is_not_missing(table):
    assert columns(table("a\nNAN1\nnot null\nn/a?\n"))["a"][1] == ["NAN1", "not null", "n/a?"]


def test_a_column_without_any_value_is_text(table):
    assert columns(table("a,b\n1,\n2,NA\n"))["b"] == ("String", [None, None])


def test_whole_numbers_beyond_64_bits_become_floats(table):
    assert columns(table("a\n9223372036854775807\n9223372036854775808\n"))["a"] == ("Float64", [2.0**63, 2.0**63])


def test_blanks_around_fields_do_not_count(table):
    assert columns(table("a , b\n 1, x \n2 ,y\n")) == {"a": ("Int64", [1, 2]), "b": ("String", ["x", "y"])}


def test_quoted_fields_hold_separators_quotes_and_line_ends(table):
    assert columns(table('a,b\n"x, ""y""",1\n"two\nlines",2\n"two\r\nlines",3\n')) == {
        "a": ("String", ['x, "y"', "two\nlines", "two\r\nlines"]),
        "b": ("Int64", [1, 2, 3]),
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_empty_lines_and_byte_order_mark(end, table):
    text = end.join(["\ufeff", "a,b", "1,x", "", "2,é", ""])
    assert columns(table(text)) == {"a": ("Int64", [1, 2]), "b": ("String", ["x", "é"])}


def test_a_column_without_a_name_gets_its_position(table):
    assert list(columns(table(",x,\n0,1,2\n"))) == ["column_1", "x", "column_3"]


def test_tab_separated_compressed_and_upper_case_names(table):
    expected = {"a": ("Int64", [1]), "b": ("String", ["x,y"])}
    assert columns(table("a\tb\n1\tx,y\n", "t.tsv")) == expected
    assert columns(table(zipped(b'a,b\n1,"x,y"\n'), "t.csv.gz")) == expected
    assert columns(table(zipped(b"a\tb\n1\tx,y\n"), "t.TSV.GZ")) == expected


def test_parquet_keeps_its_types_and_nan_is_missing(tmp_path):
    frame = pl.DataFrame({"a": [1, None], "b": [math.nan, 2.0], "c": ["NA", "x"]}, schema_overrides={"b": pl.Float32})
    frame.write_parquet(tmp_path / "t.parquet")
    assert columns(tmp_path / "t.parquet") == {
        "a": ("Int64", [1, None]),
        "b": ("Float32", [None, 2.0]),
        "c": ("String", ["NA", "x"]),
    }


def test_more_rows_than_are_held_at_a_time(table):
    n = 120_001
    path = table("a,b\n" + "".join(f"{i},{'x' if i < n - 1 else '2.5'}\n" for i in range(n)))
    frame = read_table(path)
    assert frame["a"].to_list() == list(range(n))
    assert frame["b"][-1] == "2.5"
    assert frame["b"].dtype == pl.String


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "\n\n", "is empty"),
        ("t.csv", "a,b\n", "a header but no rows"),
        ("t.csv", "a,b\n1,2\n3\n", "line 3: expected 2 fields as in the header, got 1"),
        ("t.csv", 'a,b\n"1\n",2\n\n3,4,5\n', "line 5: expected 2 fields as in the header, got 3"),
        ("t.csv", "a,b,a\n1,2,3\n", "more than one column named 'a'"),
        ("t.csv", "a, a,b,b \n1,2,3,4\n", "more than one column named 'a', 'b'"),
        ("t.csv", 'a,b\n1,"2\n3,4\n', "line 3: unexpected end of data"),
        ("t.csv", 'a,b\n1,"2"x\n', "line 2: ',' expected after '\"'"),
        ("t.csv", b"a,b\n1,x\n2,caf\xe9\n", "line 3 is not UTF-8; save the file as UTF-8"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("t.csv.gz", zipped(b"a,b\n1,\xff\n"), "line 2 is not UTF-8"),
        ("t.csv.gz", "a,b\n1,2\n", "damaged or no gzip file"),
        ("t.csv.gz", zipped(b"a,b\n" + b"1,2\n" * 1000)[:-12], "damaged or no gzip file"),
        ("t.csv.gz", zipped(b"a,b\n1,2\n")[:10] + b"\xff" * 30, "damaged or no gzip file"),
        ("t.parquet", "a,b\n1,2\n", "damaged or no Parquet file"),
        ("t.parquet", "", "damaged or no Parquet file"),
        ("t.xlsx", "PK", r"none of \.csv, \.csv\.gz, \.tsv, \.tsv\.gz, \.parquet"),
        ("csv", "a\n1\n", "none of"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_fault(name, contents, words, table):
    with pytest.raises(DataError, match=words) as caught:
        read_table(table(contents, name))
    assert name in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"nope\.csv does not exist"):
        read_table(tmp_path / "nope.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match=r"d\.csv is a folder"):
        read_table(tmp_path / "d.csv")


def test_a_parquet_file_without_rows(tmp_path):
    pl.DataFrame(schema={"a": pl.Int64}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no rows"):
        read_table(tmp_path / "t.parquet")


def test_an_unreadable_file_names_the_reason(table, monkeypatch):
    path = table("a\n1\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*t\.csv: Permission denied"):
        read_table(path)


def test_without_polars_the_way_out_is_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)  # makes `import polars` fail
    with pytest.raises(DataError, match=r"pip install 'backlit\[table\]'"):
        read_table(table("a\n1\n"))


def test_importing_the_package_does_not_import_polars():
    code = "import sys, backlit.io, backlit.data; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# Writing


def test_columns_are_written_with_the_fewest_digits(tmp_path):
    write_csv(
        {
            "text": ["a,b", 'say "x"'],
            "f32": np.array([0.1, 1e-7], np.float32),
            "f64": np.array([0.1, 1 / 3]),
            "n": [1, None],
        },
        tmp_path / "out.csv",
    )
    expected = 'text,f32,f64,n\n"a,b",0.1,0.1,1\n"say ""x""",1e-07,0.3333333333333333,\n'
    assert (tmp_path / "out.csv").read_text() == expected


def test_a_frame_is_written_and_read_back(tmp_path):
    frame = pl.DataFrame({"a": [1, None], "b": [0.1, 2.0], "c": ["x,y", None], "d": [True, False]})
    write_csv(frame, tmp_path / "out.csv")
    assert read_table(tmp_path / "out.csv").equals(frame)


def test_a_dash_is_the_standard_output(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv({"a": [1]}, "-")
    write_csv(pl.DataFrame({"b": [2]}), "-")
    assert capsys.readouterr().out == "a\n1\nb\n2\n"
    assert os.listdir(tmp_path) == []


def test_unequal_columns_leave_the_old_file(tmp_path):
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(DataError, match="unequal lengths: {'a': 1, 'b': 2}"):
        write_csv({"a": [1], "b": [1, 2]}, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_writing_into_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist; create it first"):
        write_csv({"a": [1]}, tmp_path / "no" / "out.csv")
