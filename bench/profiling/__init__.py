"""Where the time of a cell goes: traces that TensorBoard and Perfetto open, and the tables that are read off them.

`stages` puts `labels` on the parts of a model while it is profiled, `engine_stages` on those of an engine; `capture`
and `engine_capture` profile a cell in its own process, `trace` reads what the profiler wrote, `tables` and `by_stage`
make rows of it, `select` finds the cells that a person means, `show` prints.
"""
