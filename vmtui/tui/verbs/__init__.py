"""What the keys do: one registry, from which footer, help, palette, command line and docs are made."""
