"""Layout of the vocabulary that the tokens of semantic IDs live in.

The vocabulary holds one special token, then one block of `codebook_size` tokens per level:

    token 0                          padding, and the token that starts the decoder
    token 1 + level * K + code       `code` (0..K-1) at `level` (0..num_levels-1), K = `codebook_size`

There is no end token: every semantic ID has `num_levels` codes, so an end carries no information.
"""

PAD_TOKEN_ID = 0


def first_token(level: int, codebook_size: int) -> int:
    """Token of code 0 at a level.

    >>> first_token(0, codebook_size=256), first_token(2, codebook_size=256)
    (1, 513)
    """
    return 1 + level * codebook_size


def vocabulary_size(num_levels: int, codebook_size: int) -> int:
    """Number of tokens of the decoder.

    >>> vocabulary_size(num_levels=4, codebook_size=256)
    1025
    """
    return first_token(num_levels, codebook_size)
