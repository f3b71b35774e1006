"""The inspector: recordings as files and as pages that open from disk."""

from backlit.inspector import showing as showing  # which gives recordings their methods
