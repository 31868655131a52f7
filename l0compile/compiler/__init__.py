"""The line from module to callable, and the account of what was done."""
