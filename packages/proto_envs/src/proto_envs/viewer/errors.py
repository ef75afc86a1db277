__all__ = ["ViewerError"]


class ViewerError(RuntimeError):
    """Something cannot be shown or done; the message says why, and what would help."""
