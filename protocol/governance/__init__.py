"""Which plan may touch which cohort: what a hospital's data officers decided, signed, and what follows from it."""
