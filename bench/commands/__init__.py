"""The commands of `python -m bench` without a folder of their own. Each imports its dependencies when it is called."""
