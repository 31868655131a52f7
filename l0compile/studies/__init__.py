"""Search gate budgets and block shapes against latency that is measured on the device."""
