"""A model as data: one flat ATen graph with facts, its custom operators, and what is remembered of its making."""
