"""The one kind of failure that is meant for the user's eyes."""


class Refusal(Exception):  # noqa: N818 - it is no programming error
    """Something the user can put right: the text names the thing and what is allowed, and needs no traceback."""
