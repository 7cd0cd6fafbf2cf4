"""The parts of deploy/try_containers.py."""
