"""Statistics of an audit."""
