"""`python -m cortexql`."""

from cortexql.cli import main

main()
