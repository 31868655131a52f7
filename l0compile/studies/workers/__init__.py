"""Many machines in one study: where it is kept, who is alive, and whose trial counts."""
