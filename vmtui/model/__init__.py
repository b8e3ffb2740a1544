"""The nouns: frozen dataclasses that cross from room to room. Standard library only."""
