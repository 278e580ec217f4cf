"""The command line: one file per subcommand, :mod:`zoo.cli.main` puts them together."""
