"""Files that are installed with the code: templates of cards and pages, recipes."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource(name: str) -> Path:
    """Path of a file or folder that is beside the packages in a checkout, and inside this one in a wheel.

    Args:
        name (`str`): Path in the checkout, such as `model_cards/model_card.md` or `scripts/recipes`.

    Raises:
        FileNotFoundError: If the installation lacks it.

    >>> resource("scripts/recipes").is_dir()
    True
    """
    for root in (_PACKAGE.parent, _PACKAGE / "resources"):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is not part of this installation of {_PACKAGE.name}; install the package again.")
