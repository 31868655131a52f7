"""HTML pages, from the templates in ``templates``."""
