#!/bin/bash
# Starts the DGA detector as a model: on any free port of the host it will be known by, with the model that came along.
# MAAS_HOST is that host's name; without it the detector answers on this machine only.
# Files in a folder `predictions` beside this script are lists of names known to be coming.
set -eu

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
host=${MAAS_HOST:-127.0.0.1}
case $host in
    \[*) ;;
    *:*) host="[$host]" ;;
esac

# A store that keeps no file modes (HDFS does not by default) hands the program back as plain data.
[ -x "$here/dga" ] || chmod u+x "$here/dga"

predictions=()
for list in "$here"/predictions/*; do
    [ ! -f "$list" ] || predictions+=(--predictions "$list")
done

# Whatever else `dga serve` is to be told, if a file `options` was put beside this script: one on each line, as --name=value.
options=()
[ ! -e "$here/options" ] || mapfile -t options < <(grep -E '^[^#[:space:]]' "$here/options")

exec "$here/dga" serve --listen "$host:0" --model "$here/model" --endpoint-file endpoint.dat \
    ${predictions[@]+"${predictions[@]}"} ${options[@]+"${options[@]}"}
