"""Other ways to the same numbers, a file each: `scores(decoder, tokens, queries)`, shape (queries, candidates).

The first `queries` of the tokens are queries, the others candidates. A peer's package is imported when it is called.
"""
