"""From a module to a callable, and the account of what was done on the way."""
