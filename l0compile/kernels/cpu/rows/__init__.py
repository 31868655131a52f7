"""Linear layers on rows, and moving between rows and packed tokens."""
