"""`python -m sagestage` is `sagestage`."""

from sagestage.cli import main

main()
