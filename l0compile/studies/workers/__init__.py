"""Many machines in one study: where it is stored, which workers are alive, and whose trials count."""
