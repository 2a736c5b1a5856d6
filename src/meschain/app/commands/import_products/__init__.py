"""Import a catalog file: first the plan, then the same steps applied.

The counted units of a file are those on hand at one location, reserved ones included. They become
movements of the ledger: a receipt where a variant was never counted there, else an adjustment by
the difference that is found under the level's lock.
"""

from meschain.app.commands.import_products.merge import ImportReason
from meschain.app.commands.import_products.plan import (
    Created,
    ImportPlan,
    ProductUpdated,
    Refusal,
    Updated,
)
from meschain.app.commands.import_products.putback import Keeping, Kept
from meschain.app.commands.import_products.state import FieldChange
from meschain.app.commands.import_products.undo import (
    AlreadyUndone,
    ImportUnknown,
    PutBackChange,
    UndoPlan,
    undo_import,
)
from meschain.app.commands.import_products.walk import (
    ImportBusy,
    ImportDone,
    ImportOptions,
    LocationUnknown,
    apply_import,
    plan_import,
    terms_hash,
)

__all__ = [
    "AlreadyUndone",
    "Created",
    "FieldChange",
    "ImportBusy",
    "ImportDone",
    "ImportOptions",
    "ImportPlan",
    "ImportReason",
    "ImportUnknown",
    "Keeping",
    "Kept",
    "LocationUnknown",
    "ProductUpdated",
    "PutBackChange",
    "Refusal",
    "UndoPlan",
    "Updated",
    "apply_import",
    "plan_import",
    "terms_hash",
    "undo_import",
]
