# A private ZooKeeper server, from the jars that scripts/setup installs. Sourced after processes.sh, not run.
#
# Debian's own start script has its folders built in and writes no log, so the server is started without it.
# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with the script

zookeeper_jars=/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar

# zookeeper_cli SERVERS COMMAND…
zookeeper_cli() {
    # In the foreground means: in our process group, so that it ends with us.
    timeout --foreground 30 java -XX:-UsePerfData -cp "$zookeeper_jars" -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
        org.apache.zookeeper.ZooKeeperMain -server "$@"
}

# Whoever answers on the port must name our data folder: another script's server, started at the same time, does not.
zookeeper_serves() {
    local answer
    # shellcheck disable=SC2016 # $0 is meant for the inner shell
    answer=$(timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf conf >&3 && cat <&3' "$1" 2>/dev/null) || return 1
    [[ $answer == *"dataDir=$folder/zookeeper/data"* ]]
}

# Starts a server with its data in $folder/zookeeper and its log in $folder/zookeeper.log, and sets `zookeeper` to its
# address once it serves. Fails, with the reason in `why`, if it does not come up.
start_zookeeper() {
    local port pid attempt deadline=$((SECONDS + 60))
    mkdir -p "$folder/zookeeper"
    for attempt in 1 2 3 4 5; do
        why="it ended $attempt times while it started"
        port=$((20000 + RANDOM % 10000))
        ! listens "$port" || continue
        printf '%s\n' tickTime=500 "dataDir=$folder/zookeeper/data" "clientPort=$port" clientPortAddress=127.0.0.1 \
            maxClientCnxns=0 admin.enableServer=false '4lw.commands.whitelist=*' >"$folder/zookeeper/zoo.cfg"
        # In a session of its own, so that Ctrl-C at a terminal leaves it to us when it ends.
        setsid java -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData -cp "$zookeeper_jars" \
            org.apache.zookeeper.server.quorum.QuorumPeerMain "$folder/zookeeper/zoo.cfg" \
            >"$folder/zookeeper.log" 2>&1 </dev/null &
        pid=$!
        while kill -0 "$pid" 2>/dev/null; do
            if zookeeper_serves "$port"; then
                zookeeper=127.0.0.1:$port
                return
            fi
            why='it does not answer'
            ((SECONDS < deadline)) || return 1
            sleep 0.1
        done
        # It ended. Perhaps somebody else got the port in the meantime; another port will tell.
    done
    return 1
}
