"""Hook of the documentation's build: the pages that are made from the declarations."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import families


def on_files(files: Files, config: Any) -> Files:
    """Adds `functions/FAMILY.md` and `reference.md`."""
    for family in families.FAMILIES:
        files.append(File.generated(config, f"functions/{family.page}.md", content=families.page(family)))
    files.append(File.generated(config, "reference.md", content=families.reference()))
    return files
