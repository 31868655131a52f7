"""Time dense engines and compiled models, each in a process of its own."""
