"""Graph -> graph: pure passes that turn zeros into less work, and the runner that checks each of them."""

from l0compile.rewrite.pipeline import optimise as optimise
from l0compile.rewrite.pipeline import steps as steps
from l0compile.rewrite.runner import Pass as Pass
from l0compile.rewrite.runner import run as run
from l0compile.rewrite.verify import verify as verify
