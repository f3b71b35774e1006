"""Data: datasets, samplers, batches; tables as arrays, splits, and the packaged digits."""

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
from backlit.data.loader import DataLoader, batches
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
from backlit.data.tabular import Encoder
from backlit.data.target import Target

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Encoder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "Target",
    "TensorDataset",
    "WeightedRandomSampler",
    "batches",
    "current_generator",
    "default_collate",
    "load_digits",
    "random_split",
    "split_rows",
]
