"""Write the JSON Schemas of configuration files, made from those that validate, to docs/files.

Run it after a change of what files may have: ``.venv/bin/python -m scripts.file_schemas``.
"""

from __future__ import annotations

import json
from pathlib import Path

from tidegate_server.admin.configuration.editor_schemas import editor_schemas
from tidegate_server.documents.project_files import schema_file

FOLDER = Path(__file__).parents[1] / "docs" / "files"


def main() -> None:
    """Write each schema to its file."""
    for kind, schema in editor_schemas().items():
        (FOLDER / schema_file(kind)).write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
