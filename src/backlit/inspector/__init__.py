"""The inspector: recordings as files and as pages that open from disk."""

from backlit.inspector import compiled as compiled  # which gives compiled functions `record`
from backlit.inspector import showing as showing  # which gives recordings their methods
