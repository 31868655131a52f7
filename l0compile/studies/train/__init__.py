"""Train the chosen candidates."""
