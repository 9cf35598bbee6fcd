#!/bin/sh
# The chat server among polite, slow and rude clients.
exec python3 -B "$(dirname "$0")/chat_test.py" "$1"
