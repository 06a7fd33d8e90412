"""Whether a form is from a page of the lab's that was made for the browser that sends it.

The lab takes changes from its own origin alone, and browsers send its cookie nowhere else; this
holds where one of the two does not.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import FormData
from starlette.requests import Request

from app.errors import Forbidden

FIELD, HEADER = "csrf", "x-csrf-token"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


async def check_form(request: Request, key: str) -> None:
    """Compare what a form, or a script in its header, brings with the key of the browser's session.

    The field leaves the form: no route knows it. Raises Forbidden.
    """
    shown: object = request.headers.get(HEADER)
    if request.headers.get("content-type", "").lower().startswith(_FORMS):
        form = await request.form(max_files=1, max_fields=200)
        shown = form.get(FIELD) if shown is None else shown
        request._form = FormData([each for each in form.multi_items() if each[0] != FIELD])
    if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), key.encode()):
        raise Forbidden(
            "The form does not belong to this browser's session.",
            hint="Open the page anew, and send it from there.",
        )
