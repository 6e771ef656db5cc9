"""How long something took, in words."""


def in_words(seconds: float) -> str:
    """`340 ms`, `12.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        digits = 1 if seconds < 9.95 else 0
        return f"{seconds:.{digits}f} s".replace(".0 ", " ")
    if seconds < 3600:
        return _two_units(round(seconds), 60, "min", "s")
    if seconds < 48 * 3600:
        return _two_units(round(seconds / 60), 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(amount: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(amount, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
