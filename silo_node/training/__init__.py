"""Local training: images through the plan's transforms, the plan's network, FedProx steps."""
