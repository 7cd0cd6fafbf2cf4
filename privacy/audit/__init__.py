"""Empirical audits: attacks on the code that makes the privacy promise. They can find a violation, never exclude one."""
