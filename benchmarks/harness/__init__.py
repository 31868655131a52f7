"""What benchmarks share: models under test, engines, plots, and the record of results."""
