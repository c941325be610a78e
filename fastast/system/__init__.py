"""What FastAST asks of the machine: processors, threads, memory, clocks, and files that are whole or not there."""
