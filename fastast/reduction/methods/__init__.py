"""The methods of token reduction, one file each; `fastast.reduction.registry` knows them by name."""
