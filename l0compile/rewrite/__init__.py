"""Graph -> graph: pure passes that turn zeros into less work, and the runner that checks each of them."""
