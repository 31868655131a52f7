"""nn.Module or ExportedProgram in, ``Program`` out: one flat ATen graph with gates intact."""
