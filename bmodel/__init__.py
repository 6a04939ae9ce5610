"""The BModel file: reading, describing, compiling and predicting it."""
