"""Fake people: names and random choices for the seed data of both services."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Final

# Common ones from many places, some of them not in ASCII, as in real tables.
_GIVEN: Final = """
Ada Alejandro Amara Amélie Ananya Anders Anna Arjun Astrid Aylin Björn Camila Carlos Chidi Chloé Claudia Daiki
Daniel Dmitri Elena Elif Emeka Emma Eva Fatima Felix Florence Gabriel Grace Hana Hannah Haruto Hugo Ibrahim Ingrid
Isabel Ivan Jack James Jan Jasmin João José Julia Kaito Karim Katarzyna Kofi Lars Laura Layla Leo Lin Linda Lucas
Luis Magdalena Mai Malik Mara Marco Maria Mateo Maya Mei Mia Michael Miguel Min-jun Mohammed Nadia Naomi Nikolai
Nina Noah Nora Olga Oliver Olivia Omar Oscar Paula Pedro Petra Priya Rafael Rahul Rania Rosa Ruth Samira Samuel
Sara Sebastian Sofía Soo-ah Stefan Svetlana Tariq Thomas Tomáš Uma Valentina Victor Wei William Yara Yuki Yusuf
Zainab Zoë
"""
_FAMILY: Final = """
Abdullah Adeyemi Ali Almeida Andersen Baker Bauer Becker Bernard Bianchi Brown Carter Chen Costa Cruz Davies
Diallo Dubois Eriksson Evans Fernández Fischer Flores Fontaine Garcia Ghosh Gómez Green Gupta Haddad Hansen Hassan
Hernández Hoffmann Hughes Ito Ivanova Jansen Johansson Johnson Jones Kaplan Khan Kim Kobayashi Kovács Kowalski
Kumar Larsen Lee Lefèvre Lopez Martin Mbeki Mehta Meyer Moreau Morales Moreno Müller Murphy Nakamura Ndiaye Nguyen
Nielsen Novák Núñez O'Connor Ochieng Okafor Olsen Owusu Park Patel Pereira Petrov Pham Popescu Ramos Reddy Rivera
Robinson Rossi Sánchez Santos Sato Schmidt Shah Sharma Silva Singh Smith Sørensen Suzuki Takahashi Tan Taylor
Torres Tran Virtanen Wagner Walker Wang Weber Williams Wilson Wright Yamamoto Yildiz Zhang Zimmermann
"""
_GIVEN_NAMES: Final = _GIVEN.split()
_FAMILY_NAMES: Final = _FAMILY.split()


def source(seed: int) -> random.Random:
    """Return a generator of random choices: the same choices for the same seed."""
    return random.Random(seed)  # noqa: S311 - nothing secret is drawn from it


def full_name(chance: random.Random) -> str:
    """Return a given name and a family name."""
    return f"{chance.choice(_GIVEN_NAMES)} {chance.choice(_FAMILY_NAMES)}"


def moment(chance: random.Random, start: datetime, end: datetime, *, lateness: float = 1.0) -> datetime:
    """Return a time from ``start`` to ``end``, in whole milliseconds; a ``lateness`` above 1 favours later times."""
    share: float = 1.0 - chance.random() ** lateness
    milliseconds = int((end - start).total_seconds() * 1_000 * share)
    return start + timedelta(milliseconds=max(0, milliseconds))
