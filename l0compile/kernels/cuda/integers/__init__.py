"""Linear layers of 8-bit integers on rows, dense and block-sparse, by tensor cores, and what rounds their inputs."""
