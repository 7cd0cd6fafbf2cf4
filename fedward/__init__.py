"""Floor 4: the front door - one command line, a sub-command per audience."""

__version__ = "0.1.0"
