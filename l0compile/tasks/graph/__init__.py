"""Classification of the nodes of a graph: Cora, GCN and GraphSAGE, sampled neighbours, graphs of millions of nodes."""

from l0compile.tasks.graph.citations import load_cora as load_cora
from l0compile.tasks.graph.geometric import from_geometric as from_geometric
from l0compile.tasks.graph.inference import all_nodes as all_nodes
from l0compile.tasks.graph.models import GCN as GCN
from l0compile.tasks.graph.models import GraphSAGE as GraphSAGE
from l0compile.tasks.graph.neighbours import Neighbours as Neighbours
from l0compile.tasks.graph.nodes import NodeData as NodeData
from l0compile.tasks.graph.ogbn import load_ogbn_products as load_ogbn_products
from l0compile.tasks.graph.sampled import SampledTask as SampledTask
from l0compile.tasks.graph.sampling import Sampler as Sampler
from l0compile.tasks.graph.synthetic import SyntheticGraph as SyntheticGraph
from l0compile.tasks.graph.synthetic import synthetic_graph as synthetic_graph
from l0compile.tasks.graph.task import CoraTask as CoraTask
from l0compile.tasks.graph.task import GraphOptions as GraphOptions
from l0compile.tasks.graph.task import GraphTask as GraphTask
