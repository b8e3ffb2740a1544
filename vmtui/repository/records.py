"""Framed JSON objects: one repository's configuration, manifests, events, sessions and the like."""

from __future__ import annotations

from typing import Any

from vmtui.repository import frame
from vmtui.repository.keys import Keys
from vmtui.repository.store import ObjectInfo, ObjectStore


class Records:
    """Puts and gets framed objects.

    Args:
        store: The repository's objects.
        keys: Of the repository.
    """

    def __init__(self, store: ObjectStore, keys: Keys) -> None:
        self.store = store
        self._keys = keys

    def put(self, namespace: str, name: str, value: Any) -> bytes:
        """Store a value; it is durable when this returns.

        Returns:
            The object's bytes.

        Raises:
            FailedError: No space is left.
            UnreachableError: The store cannot be written.
        """
        data = frame.seal(namespace, name, value, self._keys)
        self.store.put(namespace, name, data)
        self.store.flush()
        return data

    def get(self, namespace: str, name: str) -> Any:
        """A value.

        Raises:
            DamageError: It is missing or not as written.
            UnreachableError: The store cannot be read.
        """
        return self.parse(namespace, name, self.store.get(namespace, name))

    def parse(self, namespace: str, name: str, data: bytes) -> Any:
        """The value of an object whose bytes were read already.

        Raises:
            DamageError: It is not as written.
        """
        return frame.unseal(namespace, name, data, self._keys)

    def exists(self, namespace: str, name: str) -> bool:
        """Whether an object is there."""
        return self.store.size(namespace, name) is not None

    def list(self, namespace: str) -> list[ObjectInfo]:
        """All objects of a namespace, sorted by name."""
        return self.store.list(namespace)

    def delete(self, namespace: str, name: str) -> None:
        """Remove an object; nothing happens when it is not there. Durable after the store's next flush."""
        self.store.delete(namespace, name)
