"""Search which zeros to have, under a latency measured on the device. Each part imports only from those before it:

pruning      pruning without training: what each layer may lose, and the best allocation for a time
result       what a search leaves behind
bench        time dense engines and compiled models
constraints  what the chosen model has to keep: a latency, a quality, limits
space        what a search may choose from, read from TOML
workers      many machines in one study: storage, heartbeats, retries
study        the Optuna study: trials, and what survives a kill
fit          make candidates, and fit them to a latency
context      what the phases share and hand on
explore      the phases that find finalists: trials, fits, a race, a sweep
train        train the chosen finalist's gates, or its zeros in stages
finish       train and compile the winner, and judge it
setup, run   build the context, then run the phases in order
entry        ``l0compile.search``
"""
