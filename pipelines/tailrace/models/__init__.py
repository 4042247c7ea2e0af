"""SQL models: files, dependencies, columns, compilation and checks."""
