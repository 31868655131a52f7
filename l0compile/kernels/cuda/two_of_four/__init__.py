"""Linear layers whose weight has two of each four neighbours of a row, by sparse tensor cores (``mma.sp``)."""
