"""The coordinator's service: jobs wait in a folder, run one after the other, and say how they stand."""
