"""What all figures share: sizes, colours, panels, labels that cover nothing, and files that are the same every time."""
