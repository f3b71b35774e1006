"""Data: tables as arrays, splits, batches, and the packaged digits."""

from backlit.data.digits import load_digits
from backlit.data.loader import batches
from backlit.data.split import split_rows
from backlit.data.tabular import Encoder
from backlit.data.target import Target

__all__ = ["Encoder", "Target", "batches", "load_digits", "split_rows"]
