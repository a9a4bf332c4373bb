"""`brainldm download`: the published weights."""


def download() -> None:
    """Fetch the published weights."""
