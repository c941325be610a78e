"""From a sweep file to its cells: what may be asked, what is asked, and every complaint about it."""
