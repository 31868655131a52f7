"""Search the schedules of kernels on this machine, and remember what each took."""
