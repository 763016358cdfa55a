#!/bin/bash
# Starts the mock DGA model with a Python that has Flask: the one on the PATH, or else the system's own, which is where the
# distribution's package puts Flask even if another Python comes first on the PATH.
set -u

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 1

for python in python3 /usr/bin/python3; do
    if "$python" -c 'import flask' 2>/dev/null; then
        exec "$python" "$here/dga.py"
    fi
done

echo "mock_dga: no python3 that can import flask was found; install it with: apt-get install python3-flask" >&2
exit 1
