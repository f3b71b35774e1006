"""Files: checkpoints as safetensors with JSON, tables as CSV and Parquet."""

from backlit.io.state import load, load_metadata, save
from backlit.io.tables import read_table, write_csv

__all__ = ["load", "load_metadata", "read_table", "save", "write_csv"]
