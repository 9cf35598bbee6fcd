#!/usr/bin/env python3
"""Makes C of files that the command carries with it.

    tools/embed.py TABLE OUTPUT.c FOLDER/FILE...

The output defines TABLE, an array as src/cmd/embedded.h declares it: names and texts, "gitignore" with its dot.
"""

import sys
from pathlib import Path


def literal(text):
    """A text as C string literals, a line each."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
    return "\n".join(f'        "{line}\\n"' for line in escaped.splitlines()) or '        ""'


def main():
    table = sys.argv[1]
    output, *paths = map(Path, sys.argv[2:])
    parts = [f'#include "cmd/embedded.h"\n\n#include <stddef.h>\n\nconst struct embedded_file {table}[] = {{\n']
    for path in sorted(paths):
        name = "." + path.name if path.name == "gitignore" else path.name
        parts.append(f'    {{"{name}",\n{literal(path.read_text())}}},\n')
    parts.append("    {NULL, NULL},\n};\n")
    output.write_text("".join(parts))


if __name__ == "__main__":
    main()
