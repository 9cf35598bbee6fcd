#!/usr/bin/env python3
"""Makes C of the files of a template.

    tools/embed.py OUTPUT.c FOLDER/FILE...

The output defines `new_files`, as src/cmd/new.h declares it: names and texts, "gitignore" with its dot.
"""

import sys
from pathlib import Path


def literal(text):
    """A text as C string literals, a line each."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
    return "\n".join(f'        "{line}\\n"' for line in escaped.splitlines()) or '        ""'


def main():
    output, *paths = map(Path, sys.argv[1:])
    parts = ['#include "cmd/new.h"\n\n#include <stddef.h>\n\nconst struct new_file new_files[] = {\n']
    for path in sorted(paths):
        name = "." + path.name if path.name == "gitignore" else path.name
        parts.append(f'    {{"{name}",\n{literal(path.read_text())}}},\n')
    parts.append("    {NULL, NULL},\n};\n")
    output.write_text("".join(parts))


if __name__ == "__main__":
    main()
