"""The audit of the final model: counts of scores by group, summed over hospitals, and what follows from the sum."""
