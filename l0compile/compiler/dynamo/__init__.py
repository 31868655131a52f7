"""``torch.compile(model, backend="l0compile")``.

PyTorch knows the name if the package is installed (an entry point), and anywhere once this module is imported.
:func:`backend` says what becomes of parameters, sizes and aliases.
"""

from torch._dynamo.backends import registry

from l0compile.compiler.dynamo.backend import backend as backend

# Loading the entry point registers the function itself, after this module was imported: PyTorch refuses a second time.
if "l0compile" not in registry._BACKENDS:
    registry.register_backend(backend, name="l0compile")
