# Sourced by ../services: folders, users, packages and waiting.

fail() {
    echo "error: $1" >&2
    exit "${2:-3}"
}

fail_with_log() {
    local log
    log=$("${1}_log")
    echo "error: $1 $2; the end of $log:" >&2
    tail -n 25 "$log" >&2 2>/dev/null || echo "(no such file)" >&2
    exit 3
}

offset=${ETL_SERVICES_OFFSET:-0}
# No two ports are hundreds apart, and the highest, 10,000 above one of these, must stay below those that the system hands out.
[[ "$offset" =~ ^(0|[1-8]00)$ ]] || fail "ETL_SERVICES_OFFSET is 0, 100 and so on up to 800" 2

# Servers run as users of their own when we are root, and they must be able to walk to their data.
can_be_walked_by_others() {
    local path=$1
    while [ "$path" != / ]; do
        if [ -e "$path" ] && [ $(( 0$(stat -c %a "$path") & 1 )) = 0 ]; then
            return 1
        fi
        path=$(dirname "$path")
    done
}

# Sets `base`, `dir` and `password`, and lets one caller in at a time.
open_dir() {
    base=${ETL_SERVICES_DIR:-${CARGO_TARGET_DIR:-$HOME/.cache/etl-target}/services}
    base=$(realpath -m "$base")
    if [ "$(id -u)" = 0 ] && ! can_be_walked_by_others "$base"; then
        # PostgreSQL refuses root, and no other user can enter a folder below, say, /root.
        base=/var/tmp/etl-services
    fi
    dir=$base
    [ "$offset" = 0 ] || dir=$base-$offset
    mkdir -p "$dir"
    [ -O "$dir" ] || fail "$dir belongs to somebody else: set ETL_SERVICES_DIR"
    chmod 755 "$dir"
    exec 9>"$dir/lock"
    flock -w 150 9 || fail "another call has kept $dir/lock for 150 s"
    if [ ! -s "$dir/password" ]; then
        # Of this machine alone: nothing that is reachable has a password that is known from a repository.
        (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' 'xy' >"$dir/password")
    fi
    password=$(cat "$dir/password")
}

# as USER COMMAND…: drops root's rights; the lock is not for servers to keep.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$user" --regid="$user" --init-groups "$@" 9>&-
    else
        "$@" 9>&-
    fi
}

# own_folder NAME USER: makes the system's data folder.
own_folder() {
    mkdir -p "$dir/$1"
    if [ "$(id -u)" = 0 ]; then
        chown "$2" "$dir/$1"
    fi
    chmod 700 "$dir/$1"
}

install_missing() {
    local name packages=()
    for name in "$@"; do
        read -r -a more < <("${name}_packages") || true
        packages+=("${more[@]}")
    done
    if [ ${#packages[@]} -gt 0 ]; then
        command -v apt-get >/dev/null || fail "missing: ${packages[*]}, and there is no apt-get to install them"
        local root=()
        if [ "$(id -u)" != 0 ]; then
            command -v sudo >/dev/null || fail "missing: ${packages[*]}; install them as root"
            root=(sudo)
        fi
        echo "services: installing ${packages[*]}" >&2
        {
            "${root[@]}" apt-get update -q &&
                "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
                    apt-get install -y -q --no-install-recommends "${packages[@]}"
        } >"$dir/apt.log" 2>&1 9>&- || { tail -n 25 "$dir/apt.log" >&2; fail "apt-get failed; all of it is in $dir/apt.log"; }
    fi
}

# await COMMAND SECONDS
await() {
    local until=$((SECONDS + $2))
    until "$1"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

# is_running PID_FILE: every server works in its own folder, so a number that now is somebody else's is not taken for it.
is_running() {
    [ -s "$1" ] && works_here "$(head -n 1 "$1")"
}

works_here() {
    [[ "$(readlink "/proc/$1/cwd")" == "$dir"/* ]]
}

# end PID_FILE SIGNAL SECONDS: the file may go before the process does, so its number is read first.
end() {
    local pid
    is_running "$1" || return 0
    pid=$(head -n 1 "$1")
    kill "-$2" "$pid"
    is_gone() { ! works_here "$pid"; }
    await is_gone "$3" || fail "process $pid is still there $3 s after SIG$2"
}
