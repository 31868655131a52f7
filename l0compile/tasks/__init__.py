"""Tasks: a model with its data, a loss to train it, and a measure of how good it is."""

from l0compile.tasks.checkpoint import Checkpoint as Checkpoint
from l0compile.tasks.classification import Classification as Classification
from l0compile.tasks.classification import Labelled as Labelled
from l0compile.tasks.graph import CoraTask as CoraTask
from l0compile.tasks.graph import GraphOptions as GraphOptions
from l0compile.tasks.own import OwnTask as OwnTask
from l0compile.tasks.products import PRECISIONS as PRECISIONS
from l0compile.tasks.products import Precision as Precision
from l0compile.tasks.registry import list_tasks as list_tasks
from l0compile.tasks.registry import make_task as make_task
from l0compile.tasks.registry import register_task as register_task
from l0compile.tasks.registry import task_options as task_options
from l0compile.tasks.sentence import SentenceOptions as SentenceOptions
from l0compile.tasks.sentence import SentenceTask as SentenceTask
from l0compile.tasks.task import Task as Task
from l0compile.tasks.team import Team as Team
from l0compile.tasks.team import joined as joined
from l0compile.tasks.text import Corpus as Corpus
from l0compile.tasks.text import load_corpus as load_corpus
from l0compile.tasks.training import Schedule as Schedule
from l0compile.tasks.training import Trained as Trained
from l0compile.tasks.training import assist as assist
from l0compile.tasks.training import train as train
