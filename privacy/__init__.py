"""Floor 2a: randomness, clipping, noise, accounting, the ledger, audits and secure aggregation."""
