"""Floor 2a: clipping, noise, accounting, the ledger and secure aggregation. Empty until those are built."""
