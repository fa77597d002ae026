"""Words that no image shows: what a group's own words must separate images better than.

Abstract ones, because a language model's texts of any kind differ along directions of their own, and strings of random
letters along others than words.
"""

from __future__ import annotations

WORDS = (
    "although", "percentage", "Tuesday", "verdict", "syntax", "clause", "tariff", "quorum", "premise", "axiom",
    "surname", "deadline", "mortgage", "warranty", "copyright", "pronoun", "algebra", "treaty", "bargain", "rumour",
    "loyalty", "irony", "tenure", "theorem", "subsidy", "alibi", "excuse", "custom", "synonym", "paradox", "motive",
    "refund", "wisdom", "pension", "proverb", "reproach", "adverb", "inference", "ambition", "oath", "gossip",
    "dividend", "heresy", "lease", "mandate", "nuance", "omission", "patience", "quota", "remorse", "salary",
    "tenancy", "usage", "virtue", "welfare", "zeal", "accord", "bias", "clemency", "doctrine", "equity", "fallacy",
    "hypothesis", "interest rate",
)  # fmt: skip
"""64: many sets of as many as a group has values."""
