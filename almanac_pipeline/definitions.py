"""The one Definitions object of the code location `almanac`."""

import dagster as dg

from almanac_pipeline.defs import definitions

defs: dg.Definitions = definitions
