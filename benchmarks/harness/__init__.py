"""What every benchmark shares: the model under test and the way a result is written down."""
