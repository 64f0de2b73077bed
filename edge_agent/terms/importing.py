"""What a file of terms would make of a pack: decided before anything is changed, and the same when it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge_agent.terms.normalise import normalise
from edge_agent.terms.pack import Entry, read_terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.terms.pack import Pack, Term
    from edge_agent.terms.sheet import Row, RowError

MOST_REFUSALS = 1000
"""Refused rows that are remembered one by one; of all others only the number and the reason is."""


@dataclass(slots=True)
class Refusals:
    """The rows that were refused: the first thousand of them, how many in all, and how many for which reason."""

    first: list[RowError] = field(default_factory=list)
    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, error: RowError) -> None:
        """Remember a row."""
        self.count += 1
        self.reasons[error.remedy] += 1
        if len(self.first) < MOST_REFUSALS:
            self.first.append(error)


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from one pack to another; `changed` holds the rows before and after."""

    added: tuple[Term, ...] = ()
    changed: tuple[tuple[Term, Term], ...] = ()
    removed: tuple[Term, ...] = ()
    unchanged: int = 0
    decoys_added: int = 0
    decoys_removed: int = 0
    fields: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(
            self.added or self.changed or self.removed or self.decoys_added or self.decoys_removed or self.fields
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A pack as it would be, what differs from it as it is, and which rows of the file were refused.

    `absent` counts the terms of the pack that the file does not have and that stay all the same.
    """

    pack: Pack
    difference: Difference
    refusals: Refusals
    absent: int = 0

    def conflicts(self, others: Sequence[Pack]) -> list[str]:
        """Say which of the rows that are new or changed stand in other packs too, and whose row counts."""
        from edge_agent.terms.checks import rivals

        new = [Entry(term, self.pack.id) for term in self.difference.added]
        new += [Entry(term, self.pack.id) for _, term in self.difference.changed]
        beside = [Entry(term, pack.id) for pack in others if pack.id != self.pack.id for term in pack.terms]
        return [f"{warning.term} {warning.what}" for warning in rivals(new, beside)]


def plan(pack: Pack, rows: Iterable[Row], given: Iterable[str], *, whole: bool = False) -> Plan:
    """Decide what a file's rows would make of a pack.

    The rows are added to the pack's own or, where the term is there already, take its place; of its columns only those
    that the file has (`given`) change. With `whole` the file is the whole pack: a term that it lacks is removed.
    """
    refusals = Refusals()
    new = read_terms(rows, refusals.add)
    old = {key_of(term): term for term in pack.terms}
    kept = [column for column in ("category", "aliases", "pinyin", "weight", "phonetic", "note") if column not in given]
    merged: dict[str, Term] = {} if whole else dict(old)
    for term in new:
        key = key_of(term)
        before = old.get(key)
        merged[key] = term if before is None else _merge(before, term, kept)
    known = {spelling for term in merged.values() for spelling in (term.term, *term.aliases)}
    decoys = tuple(decoy for decoy in pack.decoys if not decoy.term or decoy.term in known)
    after = replace(pack, terms=tuple(merged.values()), decoys=decoys)
    absent = 0 if whole else len(old.keys() - {key_of(term) for term in new})
    return Plan(after, compare(pack, after), refusals, absent)


def compare(before: Pack, after: Pack) -> Difference:
    """Return what differs between two packs; the order of rows does not count."""
    old = {key_of(term): term for term in before.terms}
    new = {key_of(term): term for term in after.terms}
    changed = tuple((old[key], term) for key, term in new.items() if key in old and old[key] != term)
    decoys_before, decoys_after = set(before.decoys), set(after.decoys)
    return Difference(
        added=tuple(term for key, term in new.items() if key not in old),
        changed=changed,
        removed=tuple(term for key, term in old.items() if key not in new),
        unchanged=len(old.keys() & new.keys()) - len(changed),
        decoys_added=len(decoys_after - decoys_before),
        decoys_removed=len(decoys_before - decoys_after),
        fields=tuple(name for name, value in after.fields.items() if before.fields[name] != value),
    )


def key_of(term: Term) -> str:
    """Return what two rows of one pack must not share."""
    return normalise(term.term).text


def changed_columns(before: Term, after: Term) -> tuple[str, ...]:
    """Name the columns in which two rows of a term differ."""
    names = ("term", "category", "aliases", "pinyin", "weight", "phonetic", "note")
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


def _merge(before: Term, after: Term, kept: Sequence[str]) -> Term:
    values = {column: getattr(before, column) for column in kept}
    if after.term != before.term and "pinyin" in values:
        values.pop("pinyin")  # it belongs to the spelling that is replaced
    return replace(after, **values) if values else after
