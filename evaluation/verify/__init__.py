"""Check a job's evidence offline, from the bundle and the hospitals' public keys alone: the aggregator is not believed."""
