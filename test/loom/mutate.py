#!/usr/bin/env python3
"""mutate.py IN OUT OLD NEW: a copy of a source with one mistake put in. OLD must stand there once."""
import sys

source, out, old, new = sys.argv[1:]
text = open(source, encoding="utf-8").read()
old, new = (s.replace("\\n", "\n") for s in (old, new))
if text.count(old) != 1:
    sys.exit(f"{source}: this must stand there once, and does {text.count(old)} times: {old!r}")
open(out, "w", encoding="utf-8").write(text.replace(old, new))
