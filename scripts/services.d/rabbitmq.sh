# Sourced by ../services. A node of its own name, with a port mapper of its own, beside any that the machine has.

rabbitmq_port=$((21672 + offset))

rabbitmq_packages() {
    [ -n "$(rabbitmq_bin)" ] || echo rabbitmq-server
}

# The wrapper in /usr/sbin insists on the system's own folders.
rabbitmq_bin() {
    local bins=(/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin)
    [ ! -x "${bins[-1]}/rabbitmq-server" ] || echo "${bins[-1]}"
}

rabbitmq_log() {
    echo "$dir/rabbitmq/log/server.log"
}

# Says hello as AMQP 0-9-1 does; a node that serves answers with a method frame.
rabbitmq_healthy() {
    is_running "$dir/rabbitmq/node.pid" && timeout 2 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "AMQP\0\0\11\1" >&3 &&
            [ "$(head -c 1 <&3 | od -An -tu1 | tr -d " ")" = 1 ]' "$rabbitmq_port" 2>/dev/null
}

rabbitmq_start() {
    local home=$dir/rabbitmq
    own_folder rabbitmq rabbitmq
    as rabbitmq mkdir -p "$home/mnesia" "$home/log"
    # The first start of an empty node makes the user of these lines.
    as rabbitmq tee "$home/rabbitmq.conf" >/dev/null <<CONF
listeners.tcp.1 = 127.0.0.1:$rabbitmq_port
default_user = etl
default_pass = $password
log.file.level = warning
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
CONF
    (
        cd "$home"
        export HOME=$home LANG=C.UTF-8
        export RABBITMQ_NODENAME=etl-test@localhost RABBITMQ_DIST_PORT=$((rabbitmq_port + 1))
        export ERL_EPMD_PORT=$((rabbitmq_port + 2)) ERL_EPMD_ADDRESS=127.0.0.1
        export RABBITMQ_MNESIA_BASE=$home/mnesia RABBITMQ_LOG_BASE=$home/log RABBITMQ_PID_FILE=$home/node.pid
        export RABBITMQ_CONFIG_FILE=$home/rabbitmq.conf RABBITMQ_CONF_ENV_FILE=/dev/null
        export RABBITMQ_ENABLED_PLUGINS_FILE=$home/enabled_plugins
        # Idle schedulers that spin would take the cores that tests need.
        export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none \
-kernel inet_dist_use_interface {127,0,0,1}"
        as rabbitmq setsid "$(rabbitmq_bin)/rabbitmq-server" >"$(rabbitmq_log)" 2>&1 </dev/null 9>&- &
    )
}

rabbitmq_stop() {
    end "$dir/rabbitmq/node.pid" TERM 60
    rabbitmq_end_mapper
}

rabbitmq_kill() {
    end "$dir/rabbitmq/node.pid" KILL 10
    rm -f "$dir/rabbitmq/node.pid"
}

# It outlives its node.
rabbitmq_end_mapper() {
    ERL_EPMD_PORT=$((rabbitmq_port + 2)) epmd -kill >/dev/null 2>&1 || true
}

rabbitmq_env() {
    printf 'export ETL_TEST_AMQP_URL=%q\n' "amqp://etl:$password@127.0.0.1:$rabbitmq_port/%2f"
}
