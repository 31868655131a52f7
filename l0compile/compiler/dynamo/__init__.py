"""``torch.compile(model, backend="l0compile")``.

The name is known to PyTorch where the package is installed (an entry point), and anywhere once this module is imported.
What the backend does with parameters, sizes and aliases is said in :func:`backend`.
"""

from torch._dynamo.backends import registry

from l0compile.compiler.dynamo.backend import backend as backend

# Loading the entry point registers the function itself, after this module was imported: PyTorch refuses a second time.
if "l0compile" not in registry._BACKENDS:
    registry.register_backend(backend, name="l0compile")
