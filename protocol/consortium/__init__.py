"""Who belongs to a consortium, and how each party proves it: join requests, rosters, kits, and the files they live in.

Three keys make a member. Its Ed25519 identity signs what it says to the others; its TLS key opens the connection to the
broker; the coordinator's signature on the roster ties both to a name. Private keys stay where they were made.
"""
