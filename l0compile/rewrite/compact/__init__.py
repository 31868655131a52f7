"""Remove what is dead; dense operators stay dense."""
