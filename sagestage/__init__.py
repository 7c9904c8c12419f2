"""The command line and the rehearsal: the only package that knows all the others, each only when it is needed."""
