"""Runs the CUDA C++ of a kernel on the CPU, without a GPU and without mercy: what proves a kernel *computed right*.

The source that TVM emits is compiled by g++ against a small emulation of CUDA: each thread of a block is a fiber, warp
instructions (``mma``, ``ldmatrix``, ``cp.async``, shuffles) follow the PTX ISA, and every memory access is checked.
A test says a function, its arrays, and reads the result::

    from l0compile.kernels.cuda.emulation.run import emulate

    result = emulate(function, load_target("cuda-sm80"), {"x": x, "data": data, "bias": bias, ...})
    np.testing.assert_allclose(result["y"], expected)

- ``function``: a PrimFunc with thread bindings; one or more launches, which run one after another.
- ``arrays``: parameter name (the name of its buffer) -> NumPy array or torch tensor, never changed. A parameter that is
  left out is a result: it starts as NaN in floats (all bits one), so an element that is not written shows.
- Symbolic sizes are read off the arrays' shapes; ``sizes={"tokens": 5}`` gives one that no array shows.
- The result holds every parameter by name, as NumPy arrays (bfloat16 as ``ml_dtypes.bfloat16``).
- ``orders``: the orders of threads and blocks that it is run in (default: forward, backward and one at random); a
  result that differs between them is a fault, unless atomic additions of floats make it so.

For other source text (a planted fault, say) there are two levels below::

    program = cuda_program(function, target)         # source, launches (grid, block, arguments as expressions), sizes
    replace(program, source=mutated).run(arrays)     # what emulate does

    kernel = EmulatedKernel(source, "name_kernel")   # any CUDA C++ text, hand-written or emitted
    results = kernel.launch(grid=(2, 1, 1), block=(128, 1, 1), arguments=[x, y, 5], dynamic_shared_bytes=0)

``arguments`` are arrays and numbers in the order of the kernel's parameters; the arrays come back as they are after the
launch. Use ``poisoned(shape, dtype)`` of ``kernel.py`` for one that is a result.

What it refuses (``faults.py``, each a ``KernelFault`` with kernel, block, thread and source line):

- ``OutOfBounds``: an access outside of every buffer, by a byte; ``Misaligned``: a vector access off its alignment;
- ``Race``: two threads on one address of shared memory without a barrier between (within a warp: without a
  ``__syncwarp``), or two blocks on one address of global memory; a place that is read or written while an
  asynchronous copy to it has not been waited for;
- ``DivergentBarrier``: a barrier that not all threads reach, or reach at different lines; ``Deadlock``: instructions of
  a warp or warpgroup whose threads never all come; ``Unending``: no end within ``seconds``;
- ``UnstableResult``: two orders of threads gave different results;
- ``LaunchFault``: a launch that a GPU would refuse; ``Crash``: a trap, or a signal of the operating system.

Before anything runs: ``UnknownInstruction`` (a ``BuildError``) for inline PTX or a CUDA name that the emulation has
not, which is never ignored; ``MissingDependency`` without g++ 12.

``mma.sp`` (``cpp/sparse_products.cpp``): m16n8k32 of float16 and bfloat16, with ordered metadata and its selector.
Places that do not ascend, for which the manual leaves the result open, are a fault.

``wgmma`` (``cpp/warpgroups.cpp``): products of two matrices in shared memory, float16, bfloat16 or TF32, with sums of
float32. All 128 threads of a warpgroup have to come to each of its instructions, with the same descriptors. These are
decoded by the PTX ISA, with every swizzle, K-major and MN-major; bits that mean nothing, a base offset, and rows that
do not begin where their swizzle does are faults (``Misaligned``). A product runs from its start to the ``wait_group``
that waits for its committed group, and this is what may not happen meanwhile, or before (``Race``):

- *Sums* are undefined: their registers hold NaN, and a read or a write of one is a fault. Another product may add to
  the same registers in the same shape. Else a ``wgmma.fence`` has to come before a product, behind the last wait and
  behind the last write of its registers.
- *Shared memory that is read* may not be written, nor in the same epoch of barriers after the wait.
- *Proxies.* Products read past the generic proxy, by which stores and ``cp.async`` write. From a write to a product
  there has to be a ``__syncthreads``, and a ``fence.proxy.async``: either of the thread that wrote, behind the write
  (or the wait for the copy) and before the barrier; or of every thread of the warpgroup, behind that barrier. A
  ``cp.async`` is a write like any other.
- A thread that ends before its products have.

Stricter than PTX: no barriers but that of the whole block order writes and products, a fence is wanted after each wait
even if nobody touched the registers, and A may not come from registers.

What is not emulated: the speed of anything, blocks that wait for one another, TMA, clusters, and the hardware's own
order of additions within an ``mma`` or ``wgmma`` (here: float32, in order of k; products exact). Functions that a GPU
approximates (``ex2.approx``, ``__expf``) are exact to float32.
"""
