"""Floor 1: what every party signs and speaks - the plan, the messages, the vectors, the errors, the transport."""
