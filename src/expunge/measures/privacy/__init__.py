"""Can it be detected that a model has seen an example? Attacks on the outputs of classifiers, in numpy alone."""
