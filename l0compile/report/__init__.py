"""Tell people what a search found and what became of a model: HTML pages, pictures, and tables in a terminal."""
