"""How the word lists of this folder are written down."""


def words(text: str) -> tuple[str, ...]:
    """Return the words of a block of text."""
    return tuple(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """Return the phrases of a block of text, which bars part; line ends are spaces."""
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))
