"""Which head of a model gets which pattern: where attention is called, what a pattern costs there, how it is set."""

from l0compile.attention.assignment.assign import EveryKey as EveryKey
from l0compile.attention.assignment.assign import HeadPattern as HeadPattern
from l0compile.attention.assignment.assign import assign_patterns as assign_patterns
from l0compile.attention.assignment.calls import AttentionSite as AttentionSite
from l0compile.attention.assignment.calls import attention_sites as attention_sites
from l0compile.attention.assignment.joint import JointLosses as JointLosses
from l0compile.attention.assignment.joint import OutputChanges as OutputChanges
from l0compile.attention.assignment.losses import pattern_losses as pattern_losses
