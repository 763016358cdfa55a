# Processes that a script starts, and has to be rid of when it ends. Sourced, not run.
#
# A script that uses this sets `folder`, its own temporary folder: a process is known as the script's own by a path in that
# folder among its arguments. So no list of process ids has to be kept, and nobody else's process can be meant by mistake.
# shellcheck shell=bash disable=SC2154 # `folder` is the script's own

job=
timer=

# Runs a command that may take long, in a process group of its own: a signal to us is obeyed at once, and abandon_job can
# pass it on to all that the command has started. Where no terminal shows progress, a line does, each 30 seconds.
run() {
    local ended='' status=0 started=$SECONDS
    set -m
    "$@" </dev/null &
    job=$!
    set +m
    while true; do
        sleep 30 &
        timer=$!
        status=0
        wait -n -p ended "$job" "$timer" || status=$?
        [[ $ended == "$timer" ]] || break
        [[ -t 2 ]] || printf '… %d s: %s\n' "$((SECONDS - started))" "$(where_it_is "$@")"
    done
    job=
    abandon_job
    return "$status"
}

# quietly LOG COMMAND…: with all output into a file.
quietly() { "${@:2}" >"$1" 2>&1; }

# What a long command said last, if its output goes into a file.
where_it_is() {
    [[ $1 == quietly && -s $2 ]] && tail -n 1 -- "$2" || printf 'still at it\n'
}

# Ends what `run` is running, if anything.
abandon_job() {
    [[ -z $job ]] || { kill -s TERM -- "-$job" && wait "$job"; } 2>/dev/null || true
    [[ -z $timer ]] || { kill "$timer" && wait "$timer"; } 2>/dev/null || true
    job=
    timer=
}

# processes PROGRAM: the ids of our own processes of that program. A runner's warden is no runner: it ends with its model,
# and must live to see to that.
processes() {
    local entry argument argv
    for entry in /proc/[0-9]*; do
        # It may end while we look at it.
        { mapfile -d '' -t argv <"$entry/cmdline"; } 2>/dev/null || continue
        [[ ${argv[0]:-} == "$1" || ${argv[0]:-} == */"$1" ]] || continue
        [[ ${argv[1]:-} != --warden ]] || continue
        for argument in "${argv[@]:1}"; do
            [[ $argument != "$folder"/* ]] || { printf '%s\n' "${entry#/proc/}"; break; }
        done
    done
}

# Every process that works in our folder, whatever it is called: models are among them.
working_here() {
    local entry
    for entry in /proc/[0-9]*; do
        [[ $(readlink "$entry/cwd" 2>/dev/null) != "$folder"/* ]] || printf '%s\n' "${entry#/proc/}"
    done
}

# end PROGRAM SIGNAL SECONDS: sends the signal and waits until no process of the program is left; fails if one is.
end() {
    local deadline=$((SECONDS + $3)) pids
    mapfile -t pids < <(processes "$1")
    ((${#pids[@]} == 0)) || kill -s "$2" "${pids[@]}" 2>/dev/null || true
    while [[ -n $(processes "$1") ]]; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# Whether somebody listens on a port of this machine.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
