"""The command line: one module per group of verbs; text for people, --json for programs."""
