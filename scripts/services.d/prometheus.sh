# Prometheus: each test that needs one starts its own, with what it is to scrape.

prometheus_packages() {
    command -v prometheus >/dev/null || echo prometheus
}

prometheus_env() {
    printf 'export ETL_TEST_PROMETHEUS=%q\n' "$(command -v prometheus)"
}
