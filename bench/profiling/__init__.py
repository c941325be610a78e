"""Where a cell spends its time: traces for TensorBoard and Perfetto, and the tables derived from them.

`stages` puts `labels` on the parts of a model while it is profiled, `engine_stages` on those of an engine; `capture`
and `engine_capture` profile a cell in its own process, `trace` reads the profiler's output, `tables` and `by_stage`
turn it into rows, `select` finds the cells that the user asked for, and `show` prints.
"""
