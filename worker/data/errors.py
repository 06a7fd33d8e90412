"""What goes wrong with data, in words that a user can act on."""


class DatasetError(ValueError):
    """Data that the lab cannot use.

    `detail` says what is wrong, `hint` what to do about it; both are whole sentences. They may
    quote names from an archive, so whoever shows them on a page escapes them.
    """

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(f"{detail} {hint}")
        self.detail = detail
        self.hint = hint

    def __reduce__(self) -> tuple[type["DatasetError"], tuple[str, str]]:
        return DatasetError, (self.detail, self.hint)
