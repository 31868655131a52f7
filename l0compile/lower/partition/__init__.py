"""Cut a program into stages: those that TVM runs, and islands that PyTorch runs."""
