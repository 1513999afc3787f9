"""What an operator types: python3 -m ocsp_cgi COMMAND.  Each module has `add_arguments(parser)` and
`run(arguments)`."""
