"""Choose the winner, check what was required of it, and save it."""
