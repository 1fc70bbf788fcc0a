"""How dbt's models and sources become Dagster assets: keys, groups, owners, and what they wait for."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

CIRCLE_MODEL = dg.AssetKey(["intermediate", "circle_model"])

# Which assets write a table that dbt reads. The first is the one that the source is shown as.
WRITERS = {
    "raw.users": ["raw/cohort_members", "raw/member_exports"],
    "raw.cohorts": ["raw/cohort_members"],
    "raw.cohort_members": ["raw/cohort_members"],
    "raw.ratings": ["raw/ratings", "raw/likes", "raw/member_exports"],
    "raw.diary_entries": ["raw/member_exports"],
    "raw.films": ["raw/film_metadata"],
    "raw.film_aliases": ["raw/film_metadata"],
    "raw.film_histograms": ["raw/film_histograms"],
    "raw.genres": ["raw/film_metadata"],
    "raw.film_genres": ["raw/film_metadata"],
    "raw.countries": ["raw/film_metadata"],
    "raw.film_countries": ["raw/film_metadata"],
    "raw.people": ["raw/film_metadata"],
    "raw.film_people": ["raw/film_metadata"],
    "raw.watchlist_entries": ["raw/watchlist_entries"],
}
SHARED_VIEWS_TAG = "shared_views"
PUBLISHED_VIEWS_TAG = "published_views"


class AlmanacTranslator(DagsterDbtTranslator):
    """Two-level keys that equal schema and table; views are looked through for what to wait for."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            schema_and_table = dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])
            return next(iter(_writers(dbt_resource_props)), schema_and_table)
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return "almanac" if dbt_resource_props["schema"] == "almanac" else "statistics"

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:almanac"]

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> dict[str, str]:
        return dict.fromkeys(dbt_resource_props.get("tags", []), "")

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The usual spec, with what stands behind the shared views in place of the views.

        The views are made once per database and are no part of a cohort's run: a model waits for
        the assets that fill the tables below them, and the graph stays one that can be read.
        """
        spec = super().get_asset_spec(manifest, unique_id, project)
        upstream = set(_upstream(manifest, unique_id, self)) - {spec.key}
        return spec.replace_attributes(deps=[dg.AssetDep(key) for key in sorted(upstream)])

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """Not blocking: dbt's own build fails the step when a test does, and audits gate the marts."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(blocking=False)


def _writers(source: Mapping[str, Any]) -> list[dg.AssetKey]:
    """The assets that fill a source table; none for a table that no asset writes (the control table)."""
    if source["source_name"] == "circle":
        return [CIRCLE_MODEL]
    return [dg.AssetKey(name.split("/")) for name in WRITERS.get(f"{source['schema']}.{source['name']}", ())]


def _upstream(
    manifest: Mapping[str, Any], unique_id: str, translator: AlmanacTranslator
) -> Iterator[dg.AssetKey]:
    """The assets that a node reads, directly or through shared views."""
    node = manifest["nodes"].get(unique_id)
    # Seeds depend on nothing and have no such list; sources are no nodes.
    for parent in node["depends_on"].get("nodes", ()) if node else ():
        if parent in manifest["sources"]:
            yield from _writers(manifest["sources"][parent])
        elif SHARED_VIEWS_TAG in manifest["nodes"][parent].get("tags", []):
            yield from _upstream(manifest, parent, translator)
        else:
            yield translator.get_asset_key(manifest["nodes"][parent])
