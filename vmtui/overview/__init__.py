"""What an operator is shown, put together from hosts, repository and rules; the same for screens and commands."""
