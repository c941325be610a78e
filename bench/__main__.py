"""`python -m bench`."""

# Every cell's process imports this module again under another name: keep it free of imports.
if __name__ == "__main__":
    from bench.cli import app
    from bench.completion import VARIABLE, get_ready

    get_ready()
    app(complete_var=VARIABLE)
