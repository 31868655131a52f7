"""Train the gates of the chosen finalist, or prune it in stages with training between them."""
