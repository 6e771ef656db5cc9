"""A batch's body: a line of JSON for each set of parameters, made as it is sent."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

from service.client.encoding import Parameters, encoded

BLOCK = 64 * 1024  # bytes that are sent in one piece

Sets = Iterable[Parameters] | Callable[[], Iterable[Parameters]]
AsyncSets = AsyncIterable[Parameters] | Callable[[], AsyncIterable[Parameters]]


class Lines:
    """The body, however long it is: no more than a block of it is in memory.

    Reading it raises `TypeError` and `ValueError`, which name the set, counted from 1, and the
    field that JSON can't carry.
    """

    def __init__(self, sets: Sets | AsyncSets) -> None:
        self._sets = sets
        self._is_begun = False

    @property
    def can_be_sent(self) -> bool:
        """Whether all of it is there. Of an iterator nothing is any more, once it was begun."""
        return not (self._is_begun and isinstance(self._sets, Iterator | AsyncIterator))

    def pieces(self) -> Iterator[bytes]:
        """The body, out of sets that are there."""
        block, sets = _Block(), self._begun()
        if isinstance(sets, AsyncIterable):
            raise TypeError("only AsyncClient takes sets of parameters that are waited for")
        for parameters in sets:
            if full := block.add(parameters):
                yield full
        if rest := block.take():
            yield rest

    async def async_pieces(self) -> AsyncIterator[bytes]:
        """The body, out of sets that may have to be waited for."""
        block, sets = _Block(), self._begun()
        async for parameters in sets if isinstance(sets, AsyncIterable) else _waited_for(sets):
            if full := block.add(parameters):
                yield full
        if rest := block.take():
            yield rest

    def _begun(self) -> Iterable[Parameters] | AsyncIterable[Parameters]:
        self._is_begun = True
        return self._sets() if callable(self._sets) else self._sets


async def _waited_for(sets: Iterable[Parameters]) -> AsyncIterator[Parameters]:
    for parameters in sets:
        yield parameters


class _Block:
    """The lines that are to be sent next."""

    def __init__(self) -> None:
        self._held, self._count = bytearray(), 0

    def add(self, parameters: Parameters) -> bytes:
        """One more; the block itself, where that makes it full."""
        self._count += 1
        try:
            self._held += encoded(parameters) + b"\n"
        except (TypeError, ValueError) as error:
            raise type(error)(f"set {self._count}: {error}") from error
        return self.take() if len(self._held) >= BLOCK else b""

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken
