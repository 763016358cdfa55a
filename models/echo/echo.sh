#!/bin/bash
# A model in bash and netcat that echoes what it is asked. It shows that a model needs no framework, and that it has to
# survive whatever connects to it: health probes that hang up at once, several callers, requests that are none.
#
#   GET /echo/TEXT       answers with TEXT
#   GET /echo?a=b&c=d    answers with {"a":"b","c":"d"}, so that MAAS_MODEL_APPLY has a map to read
#
# ECHO_PORT is the port to listen on: 1500 when unset, any free one when 0.
# ECHO_HOST is the address to listen on: every one (0.0.0.0) when unset.
#
# Called with --answer it handles one connection, on its standard input and output; netcat calls it so.
set -u
export LC_ALL=C # lengths are counted in bytes

# How many seconds a caller may take over a line and over the whole request, and how much of it we read.
readonly PATIENCE=5 PATIENCE_IN_ALL=15 MAX_LINE=8192 MAX_HEADERS=100

readonly USAGE='This model echoes: try /echo/TEXT or /echo?name=value
'

# --- one request ------------------------------------------------------------------------------------------------------

# respond STATUS TYPE BODY; a HEAD request is told the length only.
respond() {
    printf 'HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' "$1" "$2" "${#3}"
    [ "$method" = HEAD ] || printf '%s' "$3"
}

refuse() {
    respond "$1" 'text/plain; charset=utf-8' "$2"$'\n'
}

# decode TEXT: sets `decoded` to TEXT without percent-escapes; fails on escapes that are none and on bytes that are no text.
decode() {
    local text=${1//\\/\\\\}
    local bad='%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$|00)'
    [[ $text =~ $bad ]] && return 1
    printf -v decoded '%b' "${text//%/\\x}"
    printf '%s' "$decoded" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1
}

# quote TEXT: sets `quoted` to TEXT as a JSON string.
quote() {
    local text=$1 code char
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    if [[ $text == *[$'\001'-$'\037']* ]]; then
        for code in {1..31}; do
            printf -v char '%b' "\\x$(printf '%02x' "$code")"
            text=${text//"$char"/\\u00$(printf '%02x' "$code")}
        done
    fi
    quoted="\"$text\""
}

# Answers GET /echo?a=b&c=d.
echo_arguments() {
    local pair name json= pairs
    IFS='&' read -r -a pairs <<<"$1"
    for pair in "${pairs[@]}"; do
        [ -n "$pair" ] || continue
        pair=${pair//+/ }
        [[ $pair == *=* ]] || pair+==
        decode "${pair%%=*}" || { refuse '400 Bad Request' 'an argument name is not valid'; return; }
        quote "$decoded"
        name=$quoted
        decode "${pair#*=}" || { refuse '400 Bad Request' 'an argument value is not valid'; return; }
        quote "$decoded"
        json+=${json:+,}$name:$quoted
    done
    respond '200 OK' application/json "{$json}"
}

answer() {
    local line target version count=0 give_up=$((SECONDS + PATIENCE_IN_ALL))
    method=
    # A probe that only opens and closes the connection ends here, without a word from us.
    IFS= read -r -t "$PATIENCE" -n "$MAX_LINE" line || return 0
    read -r method target version <<<"${line%$'\r'}"
    while IFS= read -r -t "$PATIENCE" -n "$MAX_LINE" line && [ -n "${line%$'\r'}" ]; do
        count=$((count + 1))
        [ "$SECONDS" -lt "$give_up" ] || { refuse '408 Request Timeout' 'the request took too long'; return; }
        [ "$count" -le "$MAX_HEADERS" ] || { refuse '431 Request Header Fields Too Large' 'too many headers'; return; }
    done
    if [[ $version != HTTP/1.* || $target != /* ]]; then
        refuse '400 Bad Request' 'this is no HTTP request'
    elif [ "$method" != GET ] && [ "$method" != HEAD ]; then
        refuse '405 Method Not Allowed' 'only GET and HEAD are answered'
    elif [[ $target == /echo/* ]]; then
        decode "${target#/echo/}" || { refuse '400 Bad Request' 'the text is not valid'; return; }
        respond '200 OK' 'text/plain; charset=utf-8' "$decoded"
    elif [[ $target == /echo || $target == /echo\?* ]]; then
        local query=${target#/echo}
        echo_arguments "${query#\?}"
    elif [ "$target" = / ]; then
        respond '200 OK' 'text/plain; charset=utf-8' "$USAGE"
    else
        refuse '404 Not Found' 'there is nothing here; try /echo/TEXT'
    fi
}

# --- the service ------------------------------------------------------------------------------------------------------

port=${ECHO_PORT:-1500}
host=${ECHO_HOST:-0.0.0.0}
readonly fifo=.echo.fifo.$$ unfinished=.endpoint.dat.$$

fail() {
    echo "echo: $*" >&2
    exit 1
}

# descendants PID: every process below PID, as the kernel lists them, parents first.
descendants() {
    local child children
    children=$(cat "/proc/$1/task/"*/children 2>/dev/null) || children=$(pgrep -P "$1")
    for child in $children; do
        echo "$child"
        descendants "$child"
    done
}

# Takes everything down that we put up: files, the listener, and answers whose callers keep them waiting.
tidy_up() {
    trap '' TERM INT
    rm -f endpoint.dat "$unfinished" "$fifo"
    [ -z "${listener:-}" ] || kill -STOP "$listener" 2>/dev/null # so that it starts nothing while we look
    local below
    below=$(descendants "$$")
    {
        # shellcheck disable=SC2086 # several numbers, one argument each
        kill -KILL $below
        wait
    } 2>/dev/null # bash would report every one of them as killed
}

# Tells where we are, complete or not at all: whoever waits for the file may read it the moment it appears.
publish() {
    local name=$host
    [ "$host" = 0.0.0.0 ] && name=localhost
    [[ $name == *:* ]] && name="[$name]"
    printf '{"url":"http://%s:%d","functions":{"apply":"echo"}}\n' "$name" "$port" >"$unfinished" &&
        mv -f "$unfinished" endpoint.dat || fail 'could not write endpoint.dat'
}

# await_listening FD: reads netcat's messages from FD until it says that it listens, and leaves that line in `message`;
# fails with what it said instead, in `problem`.
await_listening() {
    problem=
    while IFS= read -r -t 10 message <&"$1"; do
        [[ $message =~ [Ll]istening\ on\  ]] && return 0
        [[ $message == 'Ncat: Version'* ]] || problem+="$message "
    done
    problem=${problem:-it said nothing}
    return 1
}

# Starts ncat on $port. It keeps listening, and starts this script for every connection.
start_ncat() {
    local self messages
    self=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/$(basename -- "${BASH_SOURCE[0]}")
    # For a shell to read: in single quotes, with each single quote inside written as '\''.
    local command="exec /bin/bash '${self//\'/\'\\\'\'}' --answer"
    exec {messages}< <(exec ncat -v --listen --keep-open --sh-exec "$command" "$host" "$port" 2>&1 </dev/null)
    listener=$!
    if await_listening "$messages"; then
        cat <&"$messages" >&2 & # who connected: a log of requests
        exec {messages}<&-
        return 0
    fi
    exec {messages}<&-
    wait "$listener"
    listener=
    return 1
}

serve_with_ncat() {
    if [ "$port" != 0 ]; then
        start_ncat || fail "ncat could not listen on $host:$port: $problem"
    else
        # ncat does not tell which port it got when asked for any, so we ask for certain ones until one is free.
        local attempt
        for attempt in {1..50}; do
            port=$((20000 + RANDOM % 12000))
            start_ncat && break
            [ "$attempt" -lt 50 ] || fail "ncat found no free port: $problem"
        done
    fi
    publish
    wait "$listener"
    fail "ncat stopped with status $?"
}

# serve_with_nc NC: OpenBSD's netcat can start no program, so it takes one connection and is started again for the next. Who
# comes in between is turned away and has to try again: good enough for a walk-through, and the reason why ncat is preferred.
serve_with_nc() {
    local messages published=
    mkfifo "$fifo" || fail 'could not make a named pipe'
    while true; do
        exec {messages}< <(
            exec 3>&1
            "$1" -n -v -N -w "$PATIENCE_IN_ALL" -l "$host" "$port" <"$fifo" 2>&3 | answer >"$fifo" 2>&3
        )
        await_listening "$messages" || fail "$1 could not listen on $host:$port: $problem"
        if [ -z "$published" ]; then
            port=${message##* } # the one it got, if any would do
            publish
            published=yes
        fi
        cat <&"$messages" >&2 & # who connected: a log of requests; it ends with the connection
        exec {messages}<&-
        wait $!
    done
}

main() {
    case ${1:-} in
        --answer) answer; return ;;
        '') ;;
        *) fail "unknown argument $1" ;;
    esac
    [[ $port =~ ^[0-9]{1,5}$ && $port -le 65535 ]] || fail "ECHO_PORT must be a port number, not '$port'"
    trap 'exit 0' TERM INT
    trap tidy_up EXIT
    rm -f endpoint.dat # an old one leads nowhere
    local nc
    if command -v ncat >/dev/null; then
        serve_with_ncat
    fi
    for nc in nc.openbsd nc; do
        if command -v "$nc" >/dev/null && "$nc" -h 2>&1 | grep -q OpenBSD; then
            serve_with_nc "$nc"
        fi
    done
    fail 'no netcat was found that can serve; install one with: apt-get install ncat (or netcat-openbsd)'
}

# On one line, so that bash has read it all before it begins, and an edit of this file cannot confuse a running copy.
main "$@"; exit
