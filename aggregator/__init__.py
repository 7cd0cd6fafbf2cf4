"""Floor 3: what runs at the coordinator - rounds as a durable state machine, server strategies, tracking."""
