"""Floor 3: what runs inside a hospital - intake, cohort store, training, scoring, and the gate that guards the way out."""
