"""The trade's own terms: packs that admins write, and the dictionary that finds and corrects them in a transcript."""

from edge_agent.terms.dictionary import Dictionary, Recognition
from edge_agent.terms.hotwords import Hotwords
from edge_agent.terms.pack import Decoy, Entry, Pack, Phonetic, Term

__all__ = ["Decoy", "Dictionary", "Entry", "Hotwords", "Pack", "Phonetic", "Recognition", "Term"]
