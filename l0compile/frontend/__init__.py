"""nn.Module or ExportedProgram -> ``Program``, one flat ATen graph in which gates are whole operators."""
