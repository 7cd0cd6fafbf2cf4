"""What the aggregator keeps so that nobody has to trust it: the digest of every reply, receipts, the checkpoint."""
