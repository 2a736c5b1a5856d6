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
from meschain.app.commands.import_products.state import FieldChange
from meschain.app.commands.import_products.walk import (
    ImportDone,
    ImportOptions,
    LocationUnknown,
    apply_import,
    plan_import,
)

__all__ = [
    "Created",
    "FieldChange",
    "ImportDone",
    "ImportOptions",
    "ImportPlan",
    "ImportReason",
    "LocationUnknown",
    "ProductUpdated",
    "Refusal",
    "Updated",
    "apply_import",
    "plan_import",
]
