"""What `script/supply-chain` makes of what its tools tell it."""

from __future__ import annotations

from script import supply_chain
from script.supply_chain import LOCK, audit_of, document, refused, stale

PACKAGES = [("aiohttp", "Apache-2.0 AND MIT"), ("Typing_Extensions", "PSF-2.0")]


def test_every_licence_of_a_package_must_be_allowed() -> None:
    """A choice of licences, several at once and those in brackets are looked at one by one; none at all is refused."""
    good = ["MIT", "MIT OR Apache-2.0", "MPL-2.0 AND (Apache-2.0 OR MIT)", "Apache Software License; MIT License"]
    assert refused(("a", each) for each in good) == []
    bad = ["UNKNOWN", "", "GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0 WITH LLVM-exception", "Proprietary; MIT"]
    assert refused(("a", each) for each in bad) == [f"a: {each}" for each in bad]


def test_the_list_of_licences_is_out_of_date_where_a_package_or_its_licence_differs() -> None:
    """A package that only other Pythons need may stay in the list; one that is no longer locked may not."""
    text = document(PACKAGES)
    locked = ["aiohttp", "typing-extensions", "only-on-others"]
    assert stale(text, PACKAGES, locked) == []
    assert stale(text + "| only-on-others | MIT |\n", PACKAGES, locked) == []
    assert stale(text, [*PACKAGES, ("new", "MIT")], locked) == ["new: MIT"]
    assert stale(text, [("aiohttp", "MIT"), PACKAGES[1]], locked) == ["aiohttp: MIT"]
    assert stale(text, PACKAGES[:1], locked[:1]) == ["typing-extensions is no longer locked"]


def test_the_committed_list_has_no_package_that_is_not_locked() -> None:
    """It is of the packages of the image; `script/supply-chain` compares their licences."""
    locked = [line.partition("==")[0] for line in LOCK.read_text().splitlines() if "==" in line[:60]]
    assert stale(supply_chain.DOCUMENT.read_text(), [], locked) == []


def test_what_could_not_be_looked_up_is_not_called_good() -> None:
    """pip-audit counts a package that it has not found among those without vulnerabilities."""
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3", "4"]}]},
            {"name": "c", "version": "3", "vulns": [{"id": "CVE-2", "fix_versions": []}]},
            {"name": "d", "skip_reason": "not found"},
        ]
    }
    found = audit_of(report)
    assert found.looked_at == 3
    assert found.mendable == ["b 2: CVE-1, mended in 3, 4"]
    assert found.unmended == ["c 3: CVE-2"]
    assert found.unseen == ["d"]
