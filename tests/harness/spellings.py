"""Texts that some reader takes for the same token or etag, and that are not the one that was issued."""

from __future__ import annotations


def of_base64(text: str) -> list[str]:
    """Return other texts that decoders of base64 read as the same bytes, or nearly."""
    padded = text + "=" * (-len(text) % 4)
    stray = {text[:-1] + character for character in "ABCDEFGHQRSTghijklmnwxyz0123456789-_"}
    spaced = {f" {text}", f"{text} ", f"{text}\n", f"{text[:4]}\r\n{text[4:]}", f"{text[:3]}!{text[3:]}"}
    padding = {padded, f"{text}=", f"{text}==", f"{text}====", f"={text}"}
    return sorted({padded.replace("-", "+").replace("_", "/"), *padding, *stray, *spaced} - {text})


def of_etag(etag: str) -> list[str]:
    """Return other texts for the numbers in an etag, and for what stands around them."""
    inside = etag[1:-1]
    first, dot, rest = inside.partition(".")
    numbers = (
        f"0{inside}",
        f"+{inside}",
        f" {inside}",
        f"{inside} ",
        f"{inside}\n",
        f"{inside}0",
        f"{inside}.",
        "",
        ".",
    )
    other = (
        f"-{inside}",
        f"{first}_{dot}{rest}",
        f"{int(first):x}h{dot}{rest}",
        inside.translate(_WIDE),
        f"{inside}\0",
    )
    large = (f"9223372036854775808{dot}{rest}", f"{first}.9223372036854775808", f"{2**64 + int(first)}{dot}{rest}")
    around = (inside, f'"{inside}', f'{inside}"', f"'{inside}'", f' "{inside}"', f'"{inside}"\n', f'W/"{inside}"', "*")
    old = (f"{first}-{int(rest):x}",) if rest else ()
    return sorted({*(f'"{text}"' for text in (*numbers, *other, *large)), *around, *old} - {etag})


_WIDE = {ord(str(digit)): 0xFF10 + digit for digit in range(10)}
