"""L0 gates on any PyTorch module: attach, train under a budget, harden. Pure PyTorch."""

from l0compile.gates.apply import dense_weight as dense_weight
from l0compile.gates.attach import attach as attach
from l0compile.gates.budget import Budget as Budget
from l0compile.gates.floor import Floor as Floor
from l0compile.gates.gate import Gate as Gate
from l0compile.gates.gate import named_gates as named_gates
from l0compile.gates.granularity import Block as Block
from l0compile.gates.granularity import Feature as Feature
from l0compile.gates.granularity import Granularity as Granularity
from l0compile.gates.granularity import Head as Head
from l0compile.gates.granularity import Layer as Layer
from l0compile.gates.granularity import Neuron as Neuron
from l0compile.gates.harden import HardenRecord as HardenRecord
from l0compile.gates.harden import harden as harden
from l0compile.gates.harden import hardening as hardening
from l0compile.gates.harden import unhardened as unhardened
from l0compile.gates.initialise import init_from_scores as init_from_scores
from l0compile.gates.initialise import saliency as saliency
