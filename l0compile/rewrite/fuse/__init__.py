"""Find several operators that one kernel computes."""
