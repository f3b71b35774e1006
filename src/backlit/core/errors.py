"""The exception tree.

BacklitError
├── ShapeError (ValueError)        shapes that do not fit an op
├── DTypeError (TypeError)         dtypes that do not fit an op, gradients of integers
├── GraphError (RuntimeError)      the graph cannot be differentiated as asked
│   ├── FreedGraphError            a second backward through a graph already freed
│   ├── CutPathError               no path from the output back to anything that requires grad
│   ├── EscapedValueError          a traced value used after its transform ended
│   └── WriteError                 a write that would make a gradient meaningless
├── GradientError (ValueError)     a gradient of something that has none as asked: not a scalar, no such argument
├── ArgumentError (ValueError)     an option that is none of those there are
├── RuleError (RuntimeError)       a derivative rule is missing or returns something malformed
├── DataError (ValueError)         data of the user that cannot be used
└── FileFormatError (ValueError)   a file that is damaged or of another kind
"""


class BacklitError(Exception):
    """Base of every error raised on purpose by backlit."""


class ShapeError(BacklitError, ValueError):
    """Shapes do not fit the op."""


class DTypeError(BacklitError, TypeError):
    """Dtypes do not fit the op."""


class GraphError(BacklitError, RuntimeError):
    """The graph cannot be differentiated as asked."""


class FreedGraphError(GraphError):
    """The residuals of this graph were freed by an earlier backward."""


class CutPathError(GraphError):
    """Nothing that requires grad is reached from the output."""


class EscapedValueError(GraphError):
    """A traced value was used after its transform ended."""


class WriteError(GraphError):
    """A write that would make a gradient meaningless."""


class GradientError(BacklitError, ValueError):
    """A gradient is asked of something that has none as asked."""


class ArgumentError(BacklitError, ValueError):
    """An option is none of those there are."""


class RuleError(BacklitError, RuntimeError):
    """A derivative rule is missing or returned something malformed."""


class DataError(BacklitError, ValueError):
    """Data of the user that cannot be used as asked."""


class FileFormatError(BacklitError, ValueError):
    """A file that is damaged or not of the expected kind."""
