"""SQL. Functions take a connection of a transaction; where a caller's rows are read, its scope as well."""
