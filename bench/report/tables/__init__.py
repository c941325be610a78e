"""The tables of a report, in Markdown and LaTeX."""
