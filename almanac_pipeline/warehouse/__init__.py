"""PostgreSQL: embedded server, connection, migrations, COPY loaders, stage-audit-merge. Knows no HTTP."""
