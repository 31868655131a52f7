"""``python -m tests.measurement.remote_answers WORKLOAD``: fails unless a device gives the answers of this machine."""

import json
import sys

import torch

import l0compile as l0
from l0compile.measurement import Workload
from l0compile.measurement.device import RemoteModel


def main() -> None:
    """Run a saved model on its device and here."""
    workload = Workload(**json.loads(sys.argv[1]))
    remote = RemoteModel(workload)
    given = [torch.from_numpy(argument.numpy()) for argument in remote._arguments[:-1]]
    remote._machine.set_input("main", *remote._arguments)
    remote._machine.invoke_stateful("main")
    there = remote._machine.get_outputs("main")
    there = there if hasattr(there, "numpy") else there[0]
    torch.testing.assert_close(torch.from_numpy(there.numpy()), l0.load(str(workload.artifact))(*given))


if __name__ == "__main__":
    main()
