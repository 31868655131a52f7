"""The Optuna study of a search: its trials, what it remembers, its clock and its progress."""
