"""UCI Adult: does a person of the 1994 census earn more than 50,000 dollars a year?"""

from l0compile.tasks.adult.task import AdultOptions as AdultOptions
from l0compile.tasks.adult.task import AdultTask as AdultTask
