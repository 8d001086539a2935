"""Why a database cannot be used as it is: trying again does not help, and nothing is written to it.

StoreUnavailable
    WrongSchema         its tables are not this version's: `passerelle migrate`, or a newer program
    ForeignDatabase     tables of these names are another program's
    DatabaseInUse       another instance has it, and nothing joins the two
"""

from rooms.ports import StoreUnavailable


class WrongSchema(StoreUnavailable):
    """The tables are not this version's. `found` None: there are none; `known` is what this version makes."""

    def __init__(self, found: int | None, known: int) -> None:
        super().__init__(f"the database is of version {found or 0}, this program of version {known}")
        self.found = found
        self.known = known

    @property
    def is_older(self) -> bool:
        return (self.found or 0) < self.known


class ForeignDatabase(StoreUnavailable):
    """There are tables of these names that another program made."""


class DatabaseInUse(StoreUnavailable):
    """Another instance has this database, and one of the two is alone: it has no bus."""


class NotEmpty(StoreUnavailable):
    """What is to be imported into holds something already."""
