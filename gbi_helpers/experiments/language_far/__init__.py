"""Chapter 08's questions put to a language model that is no toy: five million weights, trained as far as there is time.

A study of its own, so that chapter 08's record keeps its marks.
"""
