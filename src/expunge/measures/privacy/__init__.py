"""Can one tell that a model has seen an example? Attacks on the outputs of classifiers, in numpy alone."""
