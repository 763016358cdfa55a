#!/bin/bash
# Starts Macula as a model: on any free port of the host it will be known by, with the lists and the models that came along.
# MAAS_HOST is that host's name; without it Macula answers on this machine only.
set -eu

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
host=${MAAS_HOST:-127.0.0.1}
case $host in
    \[*) ;;
    *:*) host="[$host]" ;;
esac

# A store that keeps no file modes (HDFS does not by default) hands the program back as plain data.
[ -x "$here/macula" ] || chmod u+x "$here/macula"

# Large batches pass from thread to thread, and glibc keeps what each has freed for that thread: two heaps will do.
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-2}

models=()
for model in "$here"/models/*/; do
    [ ! -e "$model/manifest.json" ] || models+=(--model "${model%/}")
done

# Who gathers what models and the domain pivot want to know, if that was put beside this script.
gatherers=()
[ ! -e "$here/gatherers.toml" ] || gatherers=(--gatherers "$here/gatherers.toml")

# Whatever else `macula serve` is to be told, if a file `options` was put beside this script: one on each line, as --name=value. Lists
# that it names take the place of those that came along.
options=()
[ ! -e "$here/options" ] || mapfile -t options < <(grep -E '^[^#[:space:]]' "$here/options")
lists=(--lists "$here/lists")
for option in ${options[@]+"${options[@]}"}; do
    [[ $option != --lists=* ]] || lists=()
done

exec "$here/macula" serve --listen "$host:0" ${lists[@]+"${lists[@]}"} ${models[@]+"${models[@]}"} \
    ${gatherers[@]+"${gatherers[@]}"} ${options[@]+"${options[@]}"} --endpoint-file endpoint.dat
