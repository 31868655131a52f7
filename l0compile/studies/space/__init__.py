"""What a search may choose from: the space, how it is read, and the choices of a trial."""
