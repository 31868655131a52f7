"""Program -> TensorIR -> machine code for one target."""
