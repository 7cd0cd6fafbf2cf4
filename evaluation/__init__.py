"""Floor 2b: metrics with intervals, and the report an auditor reads."""
