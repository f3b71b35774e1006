"""The exception tree.

BacklitError
├── ShapeError (ValueError)         shapes that do not fit an op
├── DTypeError (TypeError)          dtypes that do not fit an op, gradients of integers
├── GradientError (RuntimeError)    a gradient that cannot be had as asked: of no scalar, of no leaf
│   ├── CutPathError                no path from the output back to anything that requires grad
│   ├── FreedGraphError             a second backward through a graph already freed
│   ├── RuleError                   a derivative rule that is missing or returns something malformed
│   └── WriteError                  a write that would make a gradient meaningless
├── TraceError (RuntimeError)       something that a traced value cannot do
│   ├── DrawnError                  a draw from a generator that a traced function has not been lent
│   └── EscapedValueError           a traced value used after its transform ended
├── CompilerError (RuntimeError)    a graph that is malformed
├── ArgumentError (ValueError)      an option that is none of those there are
├── LinAlgError (ValueError)        a matrix that is singular, or not positive definite; NumPy's error of that name too
├── DataError (ValueError)          data of the user that cannot be used
└── FileFormatError (ValueError)    a file that is damaged or of another kind
"""

from __future__ import annotations

from typing import Any

import numpy as np


class BacklitError(Exception):
    """Base of every error raised on purpose by backlit."""


class ShapeError(BacklitError, ValueError):
    """Shapes do not fit the op."""


class DTypeError(BacklitError, TypeError):
    """Dtypes do not fit the op."""


class GradientError(BacklitError, RuntimeError):
    """A gradient cannot be had as asked."""


class CutPathError(GradientError):
    """Nothing that requires grad is reached from the output."""


class FreedGraphError(GradientError):
    """The residuals of this graph were freed by an earlier backward."""


class RuleError(GradientError):
    """A derivative rule is missing or returned something malformed."""


class WriteError(GradientError):
    """A write would make a gradient meaningless."""


class TraceError(BacklitError, RuntimeError):
    """A traced value cannot do what is asked of it."""


class DrawnError(TraceError):
    """A traced function draws from a generator that it has not been lent."""

    def __init__(self, message: str, generator: object) -> None:
        super().__init__(message)
        self.generator: Any = generator


class EscapedValueError(TraceError):
    """A traced value was used after its transform ended."""


class CompilerError(BacklitError, RuntimeError):
    """A graph is malformed, or its text."""


class ArgumentError(BacklitError, ValueError):
    """An option is none of those there are."""


class LinAlgError(BacklitError, np.linalg.LinAlgError):
    """A matrix is singular, or not positive definite, where it must not be."""


class DataError(BacklitError, ValueError):
    """Data of the user cannot be used as asked."""


class FileFormatError(BacklitError, ValueError):
    """A file is damaged or not of the expected kind."""
