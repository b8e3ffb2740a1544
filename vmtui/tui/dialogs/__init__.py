"""Questions to the operator; No is the default answer of each."""
