"""Search: gate budgets and block shapes against latency measured on the device."""

from l0compile.result import Candidate as Candidate
from l0compile.result import Latency as Latency
from l0compile.result import Row as Row
from l0compile.result import SearchResult as SearchResult
from l0compile.search.candidate import Choices as Choices
from l0compile.search.entry import assist_search as assist_search
from l0compile.search.entry import search as search
from l0compile.search.progress import Progress as Progress
from l0compile.search.progress import RichProgress as RichProgress
from l0compile.search.progress import Silent as Silent
from l0compile.search.read import parse_space as parse_space
from l0compile.search.read import read_space as read_space
from l0compile.search.run import run_search as run_search
from l0compile.search.space import Effort as Effort
from l0compile.search.space import Space as Space
from l0compile.search.space import TrainingPlan as TrainingPlan
