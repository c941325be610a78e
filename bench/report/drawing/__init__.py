"""How every figure is drawn: sizes, colours, panels, labels that cover nothing, and the same bytes each time."""
