"""What keeps a node running at the hospital: its configuration, its log, its health and its checks before it starts."""
