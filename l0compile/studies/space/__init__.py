"""What a search may choose from."""
