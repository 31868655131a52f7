"""A study on disk: its trials, its clock, its progress."""
