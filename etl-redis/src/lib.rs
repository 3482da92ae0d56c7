//! Events, rate limits, caches and locks on Redis. Each is optional.
