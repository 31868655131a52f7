"""Two processes under DistributedDataParallel have the same masks and gates, which learn from the data of both."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, torch, torch.distributed as dist
from torch import nn
from l0compile.gates import Block, Budget, attach, named_gates
from l0compile.trainers import GateSteps

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = attach(nn.Sequential(nn.Linear(16, 16)), {"0": Block(4, 1)})
steps = GateSteps(lambda model, steps: Budget(model, 0.4, steps))
steps.hide(model)
parallel = nn.parallel.DistributedDataParallel(model)
optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
torch.manual_seed(100 + rank)  # ranks differ in everything random of their own
steps.begin(model.train(), 40)
(gate,) = named_gates(model).values()
same = True
for _ in range(40):
    x = torch.randn(32, 16)
    state = gate.generator.get_state()
    masks = [torch.empty_like(gate.log_alpha) for _ in range(2)]
    dist.all_gather(masks, gate.value().detach())
    gate.generator.set_state(state)
    same = same and torch.equal(*masks)
    optimiser.zero_grad()
    (parallel(x) - x * (torch.arange(16) < 5)).square().mean().backward()
    steps.before_step()
    optimiser.step()
alphas = [torch.empty_like(gate.log_alpha) for _ in range(2)]
dist.all_gather(alphas, gate.log_alpha.detach())
steps.end(model)
if rank == 0:
    print("masks", same, "gates", torch.equal(*alphas), "open", int((gate.z != 0).sum()), "of", gate.z.numel())
dist.destroy_process_group()
"""


def test_two_ranks_have_the_same_masks_and_gates(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        str(script),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert (
        "masks True gates True open 25 of 64" in ran.stdout
        or "masks True gates True open 24 of 64" in ran.stdout
    )
