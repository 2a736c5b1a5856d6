"""A whole merchant as one file, and into another hub.

Reference: docs/reference/merchant-archive.md.
"""

from meschain.app.commands.merchant_archive.form import (
    FORMAT,
    VERSION,
    ArchiveProblem,
    ArchiveRefused,
    Manifest,
)
from meschain.app.commands.merchant_archive.read import (
    ArchiveBusy,
    ArchiveDone,
    MerchantNameTaken,
    import_archive,
)
from meschain.app.commands.merchant_archive.write import export_archive

__all__ = [
    "FORMAT",
    "VERSION",
    "ArchiveBusy",
    "ArchiveDone",
    "ArchiveProblem",
    "ArchiveRefused",
    "Manifest",
    "MerchantNameTaken",
    "export_archive",
    "import_archive",
]
