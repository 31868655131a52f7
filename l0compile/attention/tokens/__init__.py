"""Tokens and features that are dropped while a model runs."""

from l0compile.attention.tokens.conditioning import ConditioningGate as ConditioningGate
from l0compile.attention.tokens.token_pruning import KeepTopTokens as KeepTopTokens
from l0compile.attention.tokens.token_pruning import PoolTokens as PoolTokens
from l0compile.attention.tokens.token_pruning import attention_of_first as attention_of_first
