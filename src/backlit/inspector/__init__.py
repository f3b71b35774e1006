"""The inspector: recordings as files and as pages that open from disk."""
