"""Texts of all languages: their tags, their words, and the scripts they are written in.

``tags`` reduces a language tag; ``units`` cuts text into words; ``scripts`` says when a text is
plainly not of the language that is stated.
"""
