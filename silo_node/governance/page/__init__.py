"""A page on this machine alone, where a data officer reads plans and decides."""
