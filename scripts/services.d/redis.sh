# Sourced by ../services. Nothing is kept on disk: nothing of ours may depend on what Redis remembers.

redis_port=$((21379 + offset))

redis_packages() {
    command -v redis-server >/dev/null || echo redis-server
}

redis_log() {
    echo "$dir/redis/server.log"
}

redis_healthy() {
    [ "$(REDISCLI_AUTH=$password timeout 2 redis-cli -h 127.0.0.1 -p "$redis_port" ping 2>/dev/null)" = PONG ]
}

redis_start() {
    own_folder redis redis
    as redis tee "$dir/redis/redis.conf" >/dev/null <<CONF
port $redis_port
bind 127.0.0.1
requirepass $password
dir $dir/redis
pidfile $dir/redis/server.pid
logfile $(redis_log)
daemonize yes
save ""
appendonly no
CONF
    as redis redis-server "$dir/redis/redis.conf" >/dev/null 2>&1
}

redis_stop() {
    end "$dir/redis/server.pid" TERM 20
}

redis_kill() {
    end "$dir/redis/server.pid" KILL 10
}

redis_env() {
    printf 'export ETL_TEST_REDIS_URL=%q\n' "redis://:$password@127.0.0.1:$redis_port/0"
}
