"""Data: datasets, samplers, loaders, transforms; files of arrays, tables, images and text; the packaged digits."""

from backlit.data import transforms
from backlit.data.collate import default_collate
from backlit.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from backlit.data.digits import load_digits
from backlit.data.files import read_idx, read_npz, write_idx
from backlit.data.images import ImageFolder
from backlit.data.loader import DataLoader
from backlit.data.on_disk import FileArray, open_npy, open_raw
from backlit.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from backlit.data.split import split_rows
from backlit.data.stream import current_generator
from backlit.data.streams import ShuffleBuffer, TextLines
from backlit.data.tables import TableSplit, split_table
from backlit.data.tabular import Encoder
from backlit.data.target import Target
from backlit.data.text import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer, read_text
from backlit.data.windows import TokenWindows
from backlit.io.tables import read_table, write_csv

__all__ = [
    "BPETokenizer",
    "BatchSampler",
    "ByteTokenizer",
    "ChainDataset",
    "CharTokenizer",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Encoder",
    "FileArray",
    "ImageFolder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "ShuffleBuffer",
    "Subset",
    "SubsetRandomSampler",
    "TableSplit",
    "Target",
    "TensorDataset",
    "TextLines",
    "TokenWindows",
    "Tokenizer",
    "WeightedRandomSampler",
    "current_generator",
    "default_collate",
    "load_digits",
    "open_npy",
    "open_raw",
    "random_split",
    "read_idx",
    "read_npz",
    "read_table",
    "read_text",
    "split_rows",
    "split_table",
    "transforms",
    "write_csv",
    "write_idx",
]
