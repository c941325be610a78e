"""From a sweep file to its cells: what a file may say, the cells that it asks for, and messages about what is wrong."""
