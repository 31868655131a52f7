"""A MODEL on the command line: what kind it is, and how each kind is loaded."""
