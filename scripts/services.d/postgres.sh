# Sourced by ../services. fsync stays on: what is killed here must find what it confirmed.

postgres_port=$((21432 + offset))

postgres_packages() {
    [ -n "$(postgres_bin)" ] || echo postgresql
}

postgres_bin() {
    local bins=(/usr/lib/postgresql/*/bin)
    [ ! -x "${bins[-1]}/postgres" ] || echo "${bins[-1]}"
}

postgres_ask() {
    PGPASSWORD=$password PGCONNECT_TIMEOUT=2 psql -qAtX -h 127.0.0.1 -p "$postgres_port" -U postgres -d "$1" -c "$2"
}

postgres_log() {
    echo "$dir/postgres/server.log"
}

postgres_healthy() {
    is_running "$dir/postgres/data/postmaster.pid" &&
        postgres_ask etl_test 'SELECT 1' >/dev/null 2>&1
}

postgres_start() {
    local bin data=$dir/postgres/data
    bin=$(postgres_bin)
    own_folder postgres postgres
    if [ ! -s "$data/PG_VERSION" ]; then
        rm -rf "$data"
        as postgres tee "$dir/postgres/password" <<<"$password" >/dev/null
        as postgres "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 -A scram-sha-256 \
            --pwfile="$dir/postgres/password" >"$dir/postgres/initdb.log" 2>&1 || return
        rm "$dir/postgres/password"
    fi
    cat >"$data/postgresql.auto.conf" <<CONF
port = $postgres_port
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 128MB
max_wal_size = 512MB
log_min_messages = warning
CONF
    as postgres "$bin/pg_ctl" -D "$data" -l "$(postgres_log)" -w -t 60 start >/dev/null 2>&1 || return
    [ "$(postgres_ask postgres "SELECT 1 FROM pg_database WHERE datname = 'etl_test'")" = 1 ] ||
        postgres_ask postgres 'CREATE DATABASE etl_test'
}

postgres_stop() {
    postgres_end fast
}

# `immediate` ends all of its processes without a checkpoint: what a power cut does, without orphans that hold the port.
postgres_kill() {
    postgres_end immediate
}

postgres_end() {
    if is_running "$dir/postgres/data/postmaster.pid"; then
        as postgres "$(postgres_bin)/pg_ctl" -D "$dir/postgres/data" -w -t 60 -m "$1" stop >/dev/null ||
            fail_with_log postgres "did not stop"
    fi
}

postgres_env() {
    printf 'export ETL_TEST_POSTGRES_URL=%q\n' "postgres://postgres:$password@127.0.0.1:$postgres_port/etl_test"
}
