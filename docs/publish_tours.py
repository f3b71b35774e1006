"""Hook of the documentation's build: the tours as pages beside the text."""

from typing import Any

from mkdocs.structure.files import File, Files

from backlit.inspector.tour import bundled, tour_page


def on_files(files: Files, config: Any) -> Files:
    """Adds `tours/NAME.html` for every tour."""
    for tour in bundled():
        files.append(File.generated(config, f"tours/{tour.name}.html", content=tour_page(tour)))
    return files
