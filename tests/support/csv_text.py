"""CSV as pandas reads it: each number as the nearest that a float can hold, which versions before 3 do on request."""

from __future__ import annotations

import io

import pandas as pd

EXACT = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}


def frame_of(text: str) -> pd.DataFrame:
    """The table in `text`."""
    return pd.read_csv(io.StringIO(text), **EXACT)
