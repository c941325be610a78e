"""Where the time of a cell goes: traces that TensorBoard and Perfetto open, and the tables that are read off them.

`stages` puts `labels` on the parts of a model while it is profiled, `capture` profiles a cell in its own process,
`trace` reads what the profiler wrote, `tables` makes rows of it, `select` finds the cells that a person means, `show`
prints.
"""
