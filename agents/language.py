"""Whether a question is in English, by its commonest words. The rules read English alone."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset(
    "the is are was were why what did does do how which who whom when where has have had of in on and for show me it its at a an to"
    " before after since between many much any going wrong with from by about that this there please can you us our my last than"
    " be been being all again only still just not no yes during while affected failing slow down errors error changed happened".split()
)
_OTHERS = (
    frozenset(
        "der die das den dem ist sind und warum wieso weshalb nicht ein eine wie viele zwischen seit vor welche wer wo zeig mir von bei auf mit"
        " pourquoi est sont le la les des une il elle que quoi combien du dans avec depuis entre quels quelles qui montre sur pas ne"
        " por qué el los las una cuántos cuántas está están falló desde quién cuál del con en muestra es un y no"
        " perché il lo gli che di non è sono come quanti quante dal alla nel chi mostra"
        " waarom het een hoe veel niet zijn wat van sinds tussen wie toon"
        " não os as uma quantos quem mostre foi são dos das em varför är inte hur många hvorfor dlaczego jest nie co proč почему что как".split()
    )
    - _ENGLISH
)


def is_english(text: str) -> bool:
    """Return whether a text reads as English; so does one of names and numbers alone."""
    letters = [c for c in text if c.isalpha()]
    if sum(c > "\u024f" for c in letters) * 4 > len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    others = sum(word in _OTHERS for word in words)
    return others <= sum(word in _ENGLISH for word in words)
