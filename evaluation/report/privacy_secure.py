"""What secure aggregation adds to a run's privacy and what not, in plain words. It is never called differential privacy."""

from __future__ import annotations

# Every field of the messages of secure aggregation but the masked vectors themselves; a test holds the two together.
SECURE_LEAVES = (
    "keys made for one attempt at one sum: public keys for masks and for sealing shares, and a digest of its own mask's seed",
    "shares of its secrets, each sealed for one other hospital, named with sender and receiver",
    "its signed word on whose masked vectors are in a sum, and a digest of those who shared",
    "the shares that open that sum: of the seeds of those in it and of the mask keys of those who dropped out, by name",
    "without differential privacy also the share of a round's steps that it had time for",
    "with each of these the digest of the manifest, the attempt it belongs to, its name and its signature",
)

# What every plan's hospitals sign (protocol.evidence), whether sums are masked or not.
EVIDENCE = (
    "at the end the receipts of its messages, signed with its public key: digests of what it was given and of what it sent; "
    "and its signature under the job's checkpoint"
)

OFF_OPEN = (
    "Secure aggregation was off: whoever runs the aggregator could read each hospital's model change on its own, and "
    "from such changes training images can in part be reconstructed."
)
OFF_PRIVATE = (
    "Secure aggregation was off: whoever runs the aggregator could read each hospital's noised model change on its own. "
    "The promise covers that, since the noise was added before."
)
ON = (
    "Secure aggregation was on: whoever runs the aggregator learned the sum of the hospitals' model changes, no single one, "
    "as long as no more of them side with it than its threshold bears: of n hospitals (n - 1) / 3, rounded down, none of three."
)
LIMITS = (
    "Secure aggregation hides who contributed what, not what the sum reveals: two hospitals that work together with the "
    "aggregator in a study of three read the third. It cannot see whether a hospital trained honestly.",
    "What hiding them made each hospital send for each sum: " + "; ".join(SECURE_LEAVES) + ".",
)
ON_SCORES = (
    "Scores left masked too (evaluation.scores: summed): whoever runs the aggregator learned the counts of all hospitals "
    "together, no single hospital's, under the same threshold."
)
SUMS = (
    "Sums of scores over different hospitals: where a hospital is in one scoring and not in the next, and the model hardly "
    "changed in between, the difference of the two sums comes near what that hospital's own scores were."
)
