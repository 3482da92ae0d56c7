# libfaketime: preloaded, it makes a process's clock wrong.

faketime_library() {
    local found=(/usr/lib/*/faketime/libfaketime.so.1 /usr/lib*/faketime/libfaketime.so.1)
    local path
    for path in "${found[@]}"; do
        if [ -e "$path" ]; then
            echo "$path"
            return
        fi
    done
}

faketime_packages() {
    [ -n "$(faketime_library)" ] || echo faketime
}

faketime_env() {
    printf 'export ETL_TEST_FAKETIME=%q\n' "$(faketime_library)"
}
