"""Write the same function one way, and compute what does not depend on the inputs."""
