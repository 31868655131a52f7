"""Sentiment of film reviews: reading, tokens, the model, and the tasks "imdb" and "imdb-embeddings"."""
