#!/bin/sh
# needs.sh TOOL... -- COMMAND...
# Runs COMMAND if all TOOLs are installed; otherwise says which is not and exits 77 (skipped).
while [ "$1" != "--" ]; do
    command -v "$1" >/dev/null || { echo "skipped: $1 is not installed"; exit 77; }
    shift
done
shift
exec "$@"
