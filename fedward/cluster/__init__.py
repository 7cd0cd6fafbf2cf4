"""A consortium of real processes on one machine: broker, aggregator and silos, with TLS and permissions, on loopback."""
