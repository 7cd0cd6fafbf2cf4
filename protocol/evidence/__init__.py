"""What lets an auditor check a job without trusting its aggregator: signed receipts, a hash chain a silo, one cosigned root.

silo         every release that leaves makes one receipt (receipt), signed in an envelope (dsse), chained to the last (chain)
aggregator   puts all receipts into one Merkle tree (merkle) and the job's course into one checkpoint (checkpoint)
silo         cosigns the checkpoint if it holds what the silo's own chain says (agreement)
auditor      knows everybody's public keys from elsewhere (keys) and repeats all of it (evaluation.verify)
"""
