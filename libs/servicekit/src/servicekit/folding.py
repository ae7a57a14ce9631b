"""How texts are compared in searches. Pure, so that services' rules may use it."""

import unicodedata


def fold(text: str) -> str:
    """`text` as it is compared: whatever its case, composition or width, in any language.

    Unicode's compatibility caseless match (so ß is ss, and ﬁ is fi), composed. The Turkish i with and without its dot
    are one letter, since a search does not say its language.
    """
    if text.isascii():
        return text.lower()
    folded = text
    # Case folding can undo the normal form, and the normal form can bring letters to fold: done twice it is stable.
    for _ in range(2):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", folded).casefold())
        folded = folded.replace("i\u0307", "i").replace("ı", "i")
    return folded
