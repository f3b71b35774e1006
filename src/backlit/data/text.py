"""Text as token numbers: tokenisers of bytes, of characters and of byte pairs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backlit.core.errors import ArgumentError, DataError, FileFormatError
from backlit.data.dataset import as_array
from backlit.io.replace import Path, replaced

if TYPE_CHECKING:
    import tokenizers

Array = np.ndarray[Any, Any]
_FORMAT = "backlit characters 1"


class Tokenizer(Protocol):
    """What a tokeniser has: `encode(text)` gives int64 [tokens] below `vocab_size`, `decode(tokens)` the text."""

    @property
    def vocab_size(self) -> int: ...
    def encode(self, text: str) -> Array: ...
    def decode(self, tokens: Any) -> str: ...


class ByteTokenizer:
    """The bytes of the text in UTF-8: 256 tokens, nothing to be learned, no text that cannot be told."""

    vocab_size = 256

    def encode(self, text: str) -> Array:
        """int64 [bytes]."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def decode(self, tokens: Any) -> str:
        """The text; bytes that are no UTF-8, as a model may make them, are replaced by U+FFFD."""
        return _numbers("ByteTokenizer", tokens, 256).astype(np.uint8).tobytes().decode(errors="replace")


class CharTokenizer:
    """Each of the given characters a token, numbered in the order of their code points.

    Raises:
      DataError: there are none.
    """

    def __init__(self, characters: str) -> None:
        self.characters = "".join(sorted(set(characters)))
        if not self.characters:
            raise DataError("CharTokenizer: there are no characters to learn from")
        self._points = _code_points(self.characters)

    @classmethod
    def train(cls, text: str) -> CharTokenizer:
        """The tokeniser of the characters in `text`."""
        return cls(text)

    @property
    def vocab_size(self) -> int:
        """The number of characters."""
        return len(self.characters)

    def encode(self, text: str) -> Array:
        """int64 [characters].

        Raises:
          DataError: a character is none of those learned.
        """
        points = _code_points(text)
        tokens = np.minimum(np.searchsorted(self._points, points), self.vocab_size - 1)
        unknown = np.flatnonzero(self._points[tokens] != points)
        if unknown.size:
            at = int(unknown[0])
            raise DataError(
                f"CharTokenizer: the character {text[at]!r} at position {at} was not in the text it learned from"
            )
        return tokens

    def decode(self, tokens: Any) -> str:
        """The text.

        Raises:
          DataError: a token is not below `vocab_size`.
        """
        return (
            self._points[_numbers("CharTokenizer", tokens, self.vocab_size)]
            .tobytes()
            .decode("utf-32-le", "surrogatepass")
        )

    def save(self, path: Path) -> None:
        """Writes the characters as JSON; the file is replaced as a whole.

        Raises:
          DataError: it cannot be written.
        """
        with replaced(path, "CharTokenizer.save") as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "characters": self.characters}, file)

    @classmethod
    def load(cls, path: Path) -> CharTokenizer:
        """What `save` wrote.

        Raises:
          FileFormatError: there is no such file, or it is another.
        """
        text = read_text(path, "CharTokenizer.load")
        try:
            found = json.loads(text)
            if found["format"] != _FORMAT or not isinstance(found["characters"], str):
                raise ValueError(found["format"])
            return cls(found["characters"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FileFormatError(
                f"CharTokenizer.load: {os.fspath(path)} holds no characters of a tokeniser"
            ) from error


class BPETokenizer:
    """Byte pairs joined by frequency (Sennrich et al., 2016) over bytes, as in GPT-2: no text that cannot be told.

    Of the library `tokenizers`, extra `text`; the file is its JSON, which other programs read too.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, min_frequency: int = 2) -> BPETokenizer:
        """Learns up to `vocab_size` tokens, of which 256 are the bytes, from a text or several.

        Raises:
          ArgumentError: `vocab_size` is less than 256.
          DataError: the library is not installed.
        """
        if vocab_size < 256:
            raise ArgumentError(f"BPETokenizer.train: vocab_size must be at least 256, for the bytes, got {vocab_size}")
        library = _library()
        made = library.Tokenizer(library.models.BPE())
        made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        made.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
        return cls(made)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> Array:
        """int64 [tokens]."""
        return np.asarray(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, tokens: Any) -> str:
        """The text.

        Raises:
          DataError: a token is not below `vocab_size`.
        """
        return str(self._tokenizer.decode(_numbers("BPETokenizer", tokens, self.vocab_size).tolist()))

    def save(self, path: Path) -> None:
        """Writes the library's JSON; the file is replaced as a whole.

        Raises:
          DataError: it cannot be written.
        """
        with replaced(path, "BPETokenizer.save") as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(self._tokenizer.to_str())

    @classmethod
    def load(cls, path: Path) -> BPETokenizer:
        """A tokeniser of byte pairs from the library's JSON.

        Raises:
          FileFormatError: there is no such file, or it is another.
          DataError: the library is not installed.
        """
        library, text = _library(), read_text(path, "BPETokenizer.load")
        try:
            return cls(library.Tokenizer.from_str(text))
        except Exception as error:  # the library raises no class of its own
            raise FileFormatError(f"BPETokenizer.load: {os.fspath(path)} is no tokeniser ({error})") from error


def read_text(path: Path, who: str = "read_text") -> str:
    """The text of a UTF-8 file, line ends as they are.

    Raises:
      FileFormatError: there is no such file, it cannot be read, or is no UTF-8 (the place is named).
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            return file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{who}: {name} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise FileFormatError(f"{who}: cannot read {name}: {error.strerror or error}") from error


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _numbers(who: str, tokens: Any, vocab_size: int) -> Array:
    numbers: Array = as_array(tokens)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= vocab_size:
        raise DataError(
            f"{who}: expected tokens on one axis, integers from 0 to {vocab_size - 1}, got {_shown(numbers)}"
        )
    return numbers


def _shown(numbers: Array) -> str:
    if numbers.dtype.kind in "iu" and numbers.ndim == 1:
        return f"tokens from {numbers.min()} to {numbers.max()}"
    return f"{numbers.dtype}{list(numbers.shape)}"


def _library() -> Any:
    # in the extra `text`: importing it with this file would make it needed for every `import backlit`
    try:
        import tokenizers
    except ImportError:
        raise DataError("BPETokenizer: byte pairs need tokenizers; pip install 'backlit[text]'") from None
    return tokenizers
