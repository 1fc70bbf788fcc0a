"""From raw rows to marts: dbt in two stages with numpy between."""
