"""For people: what a search found, and what became of a model, as HTML pages, pictures and a table."""
