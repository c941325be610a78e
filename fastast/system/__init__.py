"""FastAST's interface to the machine: processors, threads, memory, clocks, and files written whole or not at all."""
